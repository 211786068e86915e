//! Properties of a Load Control object (clause 12.28).

use bacnet_encoding::primitives;
use bacnet_types::enums::PropertyIdentifier as P;

use super::catalog::{Row, may, must};
use super::trend::{boolean, unsigned};
use super::{Cell, View, put_text};
use crate::bacnet::answer::Failure;
use crate::bacnet::civil::DateTime;
use crate::bacnet::shed::{Change, LONGEST_DURATION, LONGEST_WINDOW, Level, Shed};

pub(super) fn rows() -> Vec<Row> {
    vec![
        must(P::OBJECT_IDENTIFIER),
        must(P::OBJECT_NAME),
        must(P::OBJECT_TYPE),
        may(P::DESCRIPTION),
        must(P::PRESENT_VALUE),
        may(P::STATE_DESCRIPTION),
        must(P::STATUS_FLAGS),
        must(P::EVENT_STATE),
        may(P::RELIABILITY),
        must(P::REQUESTED_SHED_LEVEL).writable(),
        must(P::START_TIME).writable(),
        must(P::SHED_DURATION).writable(),
        must(P::DUTY_WINDOW).writable(),
        must(P::LOG_ENABLE).writable(),
        may(P::FULL_DUTY_BASELINE),
        must(P::EXPECTED_SHED_LEVEL),
        must(P::ACTUAL_SHED_LEVEL),
        must(P::SHED_LEVELS).writable(),
        must(P::SHED_LEVEL_DESCRIPTIONS),
        must(P::PROPERTY_LIST),
    ]
}

fn shed<'a>(view: &View<'a>, place: usize) -> Result<&'a Shed, Failure> {
    view.own.sheds.get(place).ok_or(Failure::UNKNOWN_OBJECT)
}

pub(super) fn read(view: &View<'_>, place: usize, property: P, cell: Cell<'_>) -> Result<(), Failure> {
    let shed = shed(view, place)?;
    let levels = &shed.scale.levels;
    match property {
        P::DESCRIPTION => cell.text("Electrical shed of the zone"),
        P::PRESENT_VALUE => cell.enumerated(shed.state().code()),
        P::STATE_DESCRIPTION => cell.text(&shed.describe()),
        // fault, where compliance cannot be judged
        P::STATUS_FLAGS => cell.flags(if shed.is_measured() { 0 } else { 0b0100_0000 }),
        // communication-failure
        P::RELIABILITY => cell.enumerated(if shed.is_measured() { 0 } else { 12 }),
        // normal
        P::EVENT_STATE => cell.enumerated(0),
        P::REQUESTED_SHED_LEVEL => cell.one(|out| shed.request.level.encode(out)),
        P::START_TIME => cell.one(|out| shed.request.start.encode(out)),
        P::SHED_DURATION => cell.unsigned(shed.request.duration.into()),
        P::DUTY_WINDOW => cell.unsigned(shed.request.window.into()),
        P::LOG_ENABLE => cell.boolean(shed.request.enable),
        #[expect(clippy::cast_possible_truncation, reason = "the protocol's REAL")]
        P::FULL_DUTY_BASELINE => cell.one(|out| primitives::encode_app_real(out, shed.scale.baseline.kw() as f32)),
        P::EXPECTED_SHED_LEVEL => cell.one(|out| shed.expected().encode(out)),
        P::ACTUAL_SHED_LEVEL => cell.one(|out| shed.actual().encode(out)),
        P::SHED_LEVELS => cell.array(levels.len(), |out, place| {
            if let Some(level) = levels.get(place) {
                primitives::encode_app_unsigned(out, level.number.into());
            }
        }),
        P::SHED_LEVEL_DESCRIPTIONS => cell.array(levels.len(), |out, place| {
            if let Some(level) = levels.get(place) {
                put_text(out, &level.text);
            }
        }),
        _ => Err(Failure::UNKNOWN_PROPERTY),
    }
}

/// A write, checked against the object as it is.
pub(super) fn write(
    view: &View<'_>,
    place: usize,
    property: P,
    index: Option<u32>,
    octets: &[u8],
) -> Result<Change, Failure> {
    let shed = shed(view, place)?;
    if property == P::SHED_LEVELS {
        return numbers(shed, index, octets);
    }
    if index.is_some() {
        return Err(Failure::NOT_AN_ARRAY);
    }
    match property {
        P::REQUESTED_SHED_LEVEL => Level::decode(octets).map(Change::Level),
        P::START_TIME => match DateTime::decode(octets)? {
            start if start.is_any() || start.instant().is_some() => Ok(Change::Start(start)),
            // "Every Monday" is no start of a shed.
            _ => Err(Failure::OUT_OF_RANGE),
        },
        P::SHED_DURATION => within(octets, LONGEST_DURATION).map(Change::Duration),
        P::DUTY_WINDOW => within(octets, LONGEST_WINDOW).map(Change::Window),
        P::LOG_ENABLE => boolean(octets).map(Change::Enable),
        _ => Err(Failure::WRITE_DENIED),
    }
}

fn within(octets: &[u8], most: u32) -> Result<u32, Failure> {
    unsigned(octets).and_then(|minutes| if minutes <= most { Ok(minutes) } else { Err(Failure::OUT_OF_RANGE) })
}

/// New numbers for the shed levels: one of them, or all. What each of them sheds stays, so they must go on rising from
/// above 0 and their count is fixed.
fn numbers(shed: &Shed, index: Option<u32>, octets: &[u8]) -> Result<Change, Failure> {
    let mut numbers: Vec<u32> = shed.scale.levels.iter().map(|level| level.number).collect();
    match index {
        // The array cannot be resized.
        Some(0) => return Err(Failure::WRITE_DENIED),
        Some(index) => {
            let place = usize::try_from(index - 1).unwrap_or(usize::MAX);
            *numbers.get_mut(place).ok_or(Failure::INVALID_INDEX)? = unsigned(octets)?;
        }
        None => {
            let mut rest = octets;
            for number in &mut numbers {
                let (_, end) = primitives::decode_application_value_ref(rest, 0).map_err(|_| Failure::OUT_OF_RANGE)?;
                let (first, others) = rest.split_at_checked(end).ok_or(Failure::WRONG_TYPE)?;
                *number = unsigned(first)?;
                rest = others;
            }
            if !rest.is_empty() {
                return Err(Failure::OUT_OF_RANGE);
            }
        }
    }
    let rising = numbers.first().is_none_or(|first| *first > 0) && numbers.is_sorted_by(|a, b| a < b);
    if rising { Ok(Change::Numbers(numbers)) } else { Err(Failure::OUT_OF_RANGE) }
}
