//! ReadProperty and ReadPropertyMultiple (clauses 15.5, 15.7): request parameters in, acknowledgement parameters out.

use bacnet_encoding::{primitives, tags};
use bacnet_services::read_property::ReadPropertyRequest;
use bacnet_services::rpm::{ReadAccessResult, ReadPropertyMultipleRequest};
use bacnet_types::constructed::PropertyReference;
use bacnet_types::enums::{AbortReason, PropertyIdentifier, RejectReason};
use bacnet_types::primitives::ObjectIdentifier;
use bytes::BytesMut;

use super::catalog::{Entry, Row};
use super::{View, property};
use crate::bacnet::answer::{Failure, Refused};

/// Most results in one answer to ReadPropertyMultiple: a request in segments could ask for many thousands.
const MAX_RESULTS: usize = 2048;
/// Most octets in one answer to ReadPropertyMultiple: the whole list of 10,000 objects fits.
const MAX_OCTETS: usize = 65_536;

/// Answer a ReadProperty: append the acknowledgement's parameters.
pub(in crate::bacnet) fn read_property(view: &View<'_>, params: &[u8], out: &mut BytesMut) -> Result<(), Refused> {
    let request = ReadPropertyRequest::decode(params)?;
    let entry = view.catalog.find(request.object_identifier).ok_or(Failure::UNKNOWN_OBJECT)?;
    primitives::encode_ctx_object_id(out, 0, &entry.id);
    primitives::encode_ctx_unsigned(out, 1, request.property_identifier.to_raw().into());
    if let Some(index) = request.property_array_index {
        primitives::encode_ctx_unsigned(out, 2, index.into());
    }
    tags::encode_opening_tag(out, 3);
    property(view, entry, request.property_identifier, request.property_array_index, out)?;
    tags::encode_closing_tag(out, 3);
    Ok(())
}

/// Answer a ReadPropertyMultiple: append the acknowledgement's parameters. Failures of single properties stand in it.
pub(in crate::bacnet) fn read_property_multiple(
    view: &View<'_>,
    params: &[u8],
    out: &mut BytesMut,
) -> Result<(), Refused> {
    let request = ReadPropertyMultipleRequest::decode(params)?;
    if request.list_of_read_access_specs.is_empty() {
        return Err(Refused::Reject(RejectReason::MISSING_REQUIRED_PARAMETER));
    }
    if request.list_of_read_access_specs.len() > MAX_RESULTS {
        return Err(Refused::Abort(AbortReason::OUT_OF_RESOURCES));
    }
    let mut results = 0;
    let mut spend = |out: &BytesMut| {
        results += 1;
        if results > MAX_RESULTS {
            Err(Refused::Abort(AbortReason::OUT_OF_RESOURCES))
        } else if out.len() > MAX_OCTETS {
            Err(Refused::Abort(AbortReason::BUFFER_OVERFLOW))
        } else {
            Ok(())
        }
    };
    for spec in &request.list_of_read_access_specs {
        let entry = view.catalog.find(spec.object_identifier);
        let id: ObjectIdentifier = entry.map_or(spec.object_identifier, |entry| entry.id);
        ReadAccessResult::encode_header(out, &id);
        for reference in &spec.list_of_property_references {
            match (entry, selector(reference.property_identifier)) {
                (_, Some(_)) if reference.property_array_index.is_some() => {
                    return Err(Refused::Reject(RejectReason::INCONSISTENT_PARAMETERS));
                }
                (Some(entry), Some(selected)) => {
                    for row in entry.rows.iter().filter(|row| selected(row)) {
                        let one = PropertyReference { property_identifier: row.property, property_array_index: None };
                        result(view, Some(entry), &one, out);
                        spend(out)?;
                    }
                }
                (entry, _) => {
                    result(view, entry, reference, out);
                    spend(out)?;
                }
            }
        }
        ReadAccessResult::encode_footer(out);
    }
    Ok(())
}

/// ALL, REQUIRED and OPTIONAL; Property_List is in none of them (clause 15.7.3.1.2).
fn selector(property: PropertyIdentifier) -> Option<fn(&Row) -> bool> {
    fn listed(row: &Row) -> bool {
        row.property != PropertyIdentifier::PROPERTY_LIST
    }
    match property {
        PropertyIdentifier::ALL => Some(listed),
        PropertyIdentifier::REQUIRED => Some(|row| listed(row) && row.required),
        PropertyIdentifier::OPTIONAL => Some(|row| listed(row) && !row.required),
        _ => None,
    }
}

/// One element of the list of results: the value or why there is none.
fn result(view: &View<'_>, entry: Option<&Entry>, reference: &PropertyReference, out: &mut BytesMut) {
    primitives::encode_ctx_unsigned(out, 2, reference.property_identifier.to_raw().into());
    if let Some(index) = reference.property_array_index {
        primitives::encode_ctx_unsigned(out, 3, index.into());
    }
    let mark = out.len();
    tags::encode_opening_tag(out, 4);
    let read = entry
        .ok_or(Failure::UNKNOWN_OBJECT)
        .and_then(|entry| property(view, entry, reference.property_identifier, reference.property_array_index, out));
    match read {
        Ok(()) => tags::encode_closing_tag(out, 4),
        Err(failure) => {
            out.truncate(mark);
            tags::encode_opening_tag(out, 5);
            primitives::encode_app_enumerated(out, failure.class.to_raw().into());
            primitives::encode_app_enumerated(out, failure.code.to_raw().into());
            tags::encode_closing_tag(out, 5);
        }
    }
}
