//! How a request is turned down, and the small PDUs that answer one (clause 20.1).

use bacnet_services::list_manipulation::ChangeListError;
use bacnet_services::wpm::WritePropertyMultipleError;
use bacnet_types::constructed::BACnetObjectPropertyReference as Reference;
use bacnet_types::enums::{AbortReason, ConfirmedServiceChoice, ErrorClass, ErrorCode, RejectReason};
use bacnet_types::error::{Error as CodecError, RemoteError};
use bytes::{BufMut, Bytes, BytesMut};

/// An Error PDU's class and code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) class: ErrorClass,
    pub(super) code: ErrorCode,
}

impl Failure {
    pub(super) const UNKNOWN_OBJECT: Self = Self::new(ErrorClass::OBJECT, ErrorCode::UNKNOWN_OBJECT);
    pub(super) const NO_COV: Self = Self::new(ErrorClass::OBJECT, ErrorCode::OPTIONAL_FUNCTIONALITY_NOT_SUPPORTED);
    pub(super) const UNKNOWN_PROPERTY: Self = Self::new(ErrorClass::PROPERTY, ErrorCode::UNKNOWN_PROPERTY);
    pub(super) const NO_VALUE: Self = Self::new(ErrorClass::PROPERTY, ErrorCode::VALUE_NOT_INITIALIZED);
    pub(super) const NOT_AN_ARRAY: Self = Self::new(ErrorClass::PROPERTY, ErrorCode::PROPERTY_IS_NOT_AN_ARRAY);
    pub(super) const INVALID_INDEX: Self = Self::new(ErrorClass::PROPERTY, ErrorCode::INVALID_ARRAY_INDEX);
    pub(super) const WRITE_DENIED: Self = Self::new(ErrorClass::PROPERTY, ErrorCode::WRITE_ACCESS_DENIED);
    pub(super) const WRONG_TYPE: Self = Self::new(ErrorClass::PROPERTY, ErrorCode::INVALID_DATA_TYPE);
    pub(super) const OUT_OF_RANGE: Self = Self::new(ErrorClass::PROPERTY, ErrorCode::VALUE_OUT_OF_RANGE);
    pub(super) const NOT_COV: Self = Self::new(ErrorClass::PROPERTY, ErrorCode::NOT_COV_PROPERTY);
    pub(super) const PASSWORD: Self = Self::new(ErrorClass::SECURITY, ErrorCode::PASSWORD_FAILURE);
    pub(super) const NOT_SUPPORTED: Self =
        Self::new(ErrorClass::SERVICES, ErrorCode::OPTIONAL_FUNCTIONALITY_NOT_SUPPORTED);
    pub(super) const BAD_PARAMETER: Self = Self::new(ErrorClass::SERVICES, ErrorCode::PARAMETER_OUT_OF_RANGE);
    pub(super) const NO_SPACE: Self = Self::new(ErrorClass::RESOURCES, ErrorCode::NO_SPACE_TO_ADD_LIST_ELEMENT);
    pub(super) const READ_DENIED: Self = Self::new(ErrorClass::PROPERTY, ErrorCode::READ_ACCESS_DENIED);
    pub(super) const NOT_A_LIST: Self = Self::new(ErrorClass::SERVICES, ErrorCode::PROPERTY_IS_NOT_A_LIST);
    pub(super) const NOT_NUMBERED: Self = Self::new(ErrorClass::PROPERTY, ErrorCode::LIST_ITEM_NOT_NUMBERED);
    pub(super) const NOT_TIMESTAMPED: Self = Self::new(ErrorClass::PROPERTY, ErrorCode::LIST_ITEM_NOT_TIMESTAMPED);
    pub(super) const LOG_FULL: Self = Self::new(ErrorClass::OBJECT, ErrorCode::LOG_BUFFER_FULL);
    pub(super) const NOT_TRIGGERED: Self =
        Self::new(ErrorClass::PROPERTY, ErrorCode::NOT_CONFIGURED_FOR_TRIGGERED_LOGGING);
    pub(super) const NO_SPACE_TO_WRITE: Self = Self::new(ErrorClass::RESOURCES, ErrorCode::NO_SPACE_TO_WRITE_PROPERTY);
    pub(super) const NO_ELEMENT: Self = Self::new(ErrorClass::SERVICES, ErrorCode::LIST_ELEMENT_NOT_FOUND);
    pub(super) const NO_ALARM: Self = Self::new(ErrorClass::OBJECT, ErrorCode::NO_ALARM_CONFIGURED);
    pub(super) const INVALID_EVENT_STATE: Self = Self::new(ErrorClass::SERVICES, ErrorCode::INVALID_EVENT_STATE);
    pub(super) const INVALID_TIME_STAMP: Self = Self::new(ErrorClass::SERVICES, ErrorCode::INVALID_TIME_STAMP);
    pub(super) const UNKNOWN_SUBSCRIPTION: Self = Self::new(ErrorClass::SERVICES, ErrorCode::UNKNOWN_SUBSCRIPTION);
    pub(super) const BUSY: Self = Self::new(ErrorClass::DEVICE, ErrorCode::DEVICE_BUSY);
    pub(super) const GOING_DOWN: Self = Self::new(ErrorClass::DEVICE, ErrorCode::OPERATIONAL_PROBLEM);

    const fn new(class: ErrorClass, code: ErrorCode) -> Self {
        Self { class, code }
    }
}

/// The three ways to turn a request down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The service failed.
    Error(Failure),
    /// The request is not well formed.
    Reject(RejectReason),
    /// The transaction cannot go on.
    Abort(AbortReason),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Error(failure)
    }
}

impl From<CodecError> for Refused {
    /// What a decoder of request parameters reports: a Reject with its reason, or the Error that it names itself.
    fn from(error: CodecError) -> Self {
        match error {
            CodecError::Remote(RemoteError::Error { class, code }) => Self::Error(Failure { class, code }),
            CodecError::Remote(RemoteError::Abort { reason }) => Self::Abort(reason),
            other => Self::Reject(match other.reject_reason() {
                // Younger than our Protocol_Revision.
                Some(RejectReason::INVALID_DATA_ENCODING) => RejectReason::INVALID_TAG,
                reason => reason.unwrap_or(RejectReason::OTHER),
            }),
        }
    }
}

impl Refused {
    /// Under which cause it is counted, beside being answered.
    pub(super) fn counted(self) -> &'static str {
        match self {
            Self::Error(failure) if failure == Failure::NO_SPACE => "no space",
            Self::Error(failure) if failure == Failure::PASSWORD => "password",
            Self::Error(_) => "error",
            Self::Reject(_) => "rejected",
            Self::Abort(_) => "aborted",
        }
    }

    /// The PDU.
    pub(super) fn pdu(self, invoke: u8, service: ConfirmedServiceChoice) -> Bytes {
        match self {
            Self::Error(failure) => error(invoke, service, failure),
            Self::Reject(reason) => Bytes::copy_from_slice(&[0x60, invoke, reason.to_raw()]),
            Self::Abort(reason) => abort(invoke, reason),
        }
    }
}

/// BACnet-SimpleACK-PDU.
pub(super) fn simple_ack(invoke: u8, service: ConfirmedServiceChoice) -> Bytes {
    Bytes::copy_from_slice(&[0x20, invoke, service.to_raw()])
}

/// The head of an unsegmented BACnet-ComplexACK-PDU, with room for its parameters.
pub(super) fn complex_ack(invoke: u8, service: ConfirmedServiceChoice) -> BytesMut {
    let mut out = BytesMut::with_capacity(256);
    out.put_slice(&[0x30, invoke, service.to_raw()]);
    out
}

/// How long that head is.
pub(super) const COMPLEX_ACK_HEAD: usize = 3;

/// BACnet-Abort-PDU from a server.
pub(super) fn abort(invoke: u8, reason: AbortReason) -> Bytes {
    Bytes::copy_from_slice(&[0x71, invoke, reason.to_raw()])
}

/// BACnet-SegmentACK-PDU from a server.
pub(super) fn segment_ack(invoke: u8, negative: bool, sequence: u8, window: u8) -> Bytes {
    Bytes::copy_from_slice(&[0x41 | (u8::from(negative) << 1), invoke, sequence, window])
}

/// WritePropertyMultiple-Error (clause 21): with the first write that failed.
pub(super) fn multiple_error(invoke: u8, failure: Failure, first: &Reference) -> Bytes {
    let service = ConfirmedServiceChoice::WRITE_PROPERTY_MULTIPLE;
    let mut out = BytesMut::with_capacity(32);
    out.put_slice(&[0x50, invoke, service.to_raw()]);
    let body = WritePropertyMultipleError {
        error_class: failure.class,
        error_code: failure.code,
        first_failed_write_attempt: first.clone(),
    };
    body.encode(&mut out);
    out.freeze()
}

/// ChangeList-Error (clause 21): with the first element that failed, 0 when it was none of them.
pub(super) fn change_list_error(invoke: u8, service: ConfirmedServiceChoice, failure: Failure, element: u32) -> Bytes {
    let mut out = BytesMut::with_capacity(16);
    out.put_slice(&[0x50, invoke, service.to_raw()]);
    let Failure { class: error_class, code: error_code } = failure;
    ChangeListError { error_class, error_code, first_failed_element_number: element }.encode(&mut out);
    out.freeze()
}

fn error(invoke: u8, service: ConfirmedServiceChoice, failure: Failure) -> Bytes {
    let mut out = BytesMut::with_capacity(9);
    out.put_slice(&[0x50, invoke, service.to_raw()]);
    bacnet_encoding::primitives::encode_app_enumerated(&mut out, u32::from(failure.class.to_raw()));
    bacnet_encoding::primitives::encode_app_enumerated(&mut out, u32::from(failure.code.to_raw()));
    out.freeze()
}
