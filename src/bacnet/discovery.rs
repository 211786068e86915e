//! Who-Is and Who-Has (clauses 16.9, 16.10): an I-Am or I-Have for the asker, or silence.

use bacnet_services::who_has::{IHaveRequest, WhoHasObject, WhoHasRequest};
use bacnet_services::who_is::{IAmRequest, WhoIsRequest};
use bacnet_types::enums::{Segmentation, UnconfirmedServiceChoice};
use bacnet_types::error::Error;
use bytes::{BufMut, Bytes, BytesMut};

use super::objects::Catalog;
use super::settings::{MAX_APDU, Settings};

/// The head of a BACnet-Unconfirmed-Request-PDU.
pub(super) fn unconfirmed(service: UnconfirmedServiceChoice) -> BytesMut {
    let mut out = BytesMut::with_capacity(64);
    out.put_slice(&[0x10, service.to_raw()]);
    out
}

/// Our I-Am.
pub(super) fn i_am(catalog: &Catalog, settings: &Settings) -> Option<Bytes> {
    if settings.quiet {
        return None;
    }
    let mut out = unconfirmed(UnconfirmedServiceChoice::I_AM);
    let announced = IAmRequest {
        object_identifier: catalog.device()?,
        max_apdu_length: MAX_APDU.into(),
        segmentation_supported: Segmentation::BOTH,
        vendor_id: settings.vendor_id,
    };
    announced.encode(&mut out);
    Some(out.freeze())
}

/// The answer to a Who-Is, when we are meant.
pub(super) fn who_is(catalog: &Catalog, settings: &Settings, params: &[u8]) -> Result<Option<Bytes>, Error> {
    let request = WhoIsRequest::decode(params)?;
    let meant = request.range.is_none_or(|range| range.contains(settings.instance));
    Ok(if meant { i_am(catalog, settings) } else { None })
}

/// The answer to a Who-Has, when we are meant and have it.
pub(super) fn who_has(catalog: &Catalog, settings: &Settings, params: &[u8]) -> Result<Option<Bytes>, Error> {
    let request = WhoHasRequest::decode(params)?;
    if request.range.is_some_and(|range| !range.contains(settings.instance)) {
        return Ok(None);
    }
    let found = match &request.object {
        WhoHasObject::Identifier(id) => catalog.find(*id),
        WhoHasObject::Name(name) => catalog.named(name),
    };
    let (Some(entry), Some(device_identifier)) = (found, catalog.device()) else { return Ok(None) };
    let mut out = unconfirmed(UnconfirmedServiceChoice::I_HAVE);
    IHaveRequest { device_identifier, object_identifier: entry.id, object_name: entry.name.clone() }
        .encode(&mut out)?;
    Ok(Some(out.freeze()))
}
