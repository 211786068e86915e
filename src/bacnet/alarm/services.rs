//! AcknowledgeAlarm, GetAlarmSummary, GetEnrollmentSummary, GetEventInformation (clauses 13.5, 13.10 to 13.12).

use bacnet_encoding::{primitives, tags};
use bacnet_services::alarm_event::{
    AcknowledgeAlarmRequest, EventSummary, GetEventInformationAck, GetEventInformationRequest,
};
use bacnet_services::alarm_summary::{AlarmSummaryEntry, GetAlarmSummaryAck};
use bacnet_services::enrollment_summary::{
    EnrollmentSummaryEntry, GetEnrollmentSummaryAck, GetEnrollmentSummaryRequest,
};
use bacnet_types::bitstring::EventTransitionBits;
use bacnet_types::enums::{
    AcknowledgmentFilter, EnrollmentSummaryEventStateFilter as StateFilter, EventState, NotifyType, RejectReason,
};
use bacnet_types::primitives::{BACnetTimeStamp, Date, Time};
use bytes::{Bytes, BytesMut};

use super::detect::{State, Three, Transition};
use super::source::{Made, Source, Stamp};
use super::{After, Alarms, Notice};
use crate::bacnet::answer::{Failure, Refused};
use crate::bacnet::objects::{Body, Catalog};
use crate::time::Mono;

/// A time stamp that there was none for (clause 12.2.26).
pub(in crate::bacnet) const NEVER: BACnetTimeStamp = BACnetTimeStamp::DateTime {
    date: Date { year: 255, month: 255, day: 255, day_of_week: 255 },
    time: Time { hour: 255, minute: 255, second: 255, hundredths: 255 },
};

/// The bits of three.
pub(in crate::bacnet) fn bits(three: &Three<bool>) -> EventTransitionBits {
    let mut bits = EventTransitionBits::empty();
    bits.set(EventTransitionBits::TO_OFFNORMAL, *three.of(Transition::Offnormal));
    bits.set(EventTransitionBits::TO_FAULT, *three.of(Transition::Fault));
    bits.set(EventTransitionBits::TO_NORMAL, *three.of(Transition::Normal));
    bits
}

/// Event_Time_Stamps.
pub(in crate::bacnet) fn stamps(source: &Source) -> [BACnetTimeStamp; 3] {
    source.memory.stamps.0.map(|stamp| stamp.map_or(NEVER, |(date, time)| BACnetTimeStamp::DateTime { date, time }))
}

fn state(source: &Source) -> EventState {
    EventState::from_raw(source.memory.state.raw().into())
}

/// AcknowledgeAlarm: the recipients of the notification hear of it too.
pub(in crate::bacnet) fn acknowledge(
    alarms: &mut Alarms,
    catalog: &Catalog,
    params: &[u8],
    (local, now): (Stamp, Mono),
    after: &mut After,
) -> Result<(), Refused> {
    let request = AcknowledgeAlarmRequest::decode(params)?;
    let entry = catalog.find(request.event_object_identifier).ok_or(Failure::UNKNOWN_OBJECT)?;
    let Body::Face(face) = entry.body else { return Err(Failure::NO_ALARM.into()) };
    let place = *alarms.by_face.get(&face).ok_or(Failure::NO_ALARM)?;
    let source = alarms.sources.get_mut(place).ok_or(Failure::NO_ALARM)?;
    let acknowledged = source.acknowledge(request.event_state_acknowledged.to_raw(), &request.timestamp);
    let to =
        acknowledged.map_err(|state| if state { Failure::INVALID_EVENT_STATE } else { Failure::INVALID_TIME_STAMP })?;
    after.keep("state", &super::name(source.id), source.memory.keep());
    let class = alarms.classes.values().find(|class| class.instance == source.settings.class);
    let enabled = *source.settings.enabled.of(to.transition());
    let (Some(class), Some(device), true) = (class, catalog.device(), enabled) else { return Ok(()) };
    let by = request.acknowledgment_source;
    let text = if by.is_empty() { "acknowledged".to_owned() } else { format!("acknowledged by {by}") };
    let notice = Notice {
        notify: NotifyType::ACK_NOTIFICATION,
        event_type: source.event_type(to, to),
        text,
        made: Made { from: to, to },
        values: None,
    };
    after.dropped += notice.post(&mut alarms.outbox, device, source.id, class, local, now);
    Ok(())
}

/// GetEventInformation in at most so many octets, from behind the last object that the client has.
pub(in crate::bacnet) fn event_information(
    alarms: &Alarms,
    catalog: &Catalog,
    params: &[u8],
    room: usize,
    out: &mut BytesMut,
) -> Result<(), Refused> {
    let request = GetEventInformationRequest::decode(params)?;
    let after = match request.last_received_object_identifier {
        None => None,
        Some(id) => Some(catalog.place(id).ok_or(Failure::UNKNOWN_OBJECT)?),
    };
    let active = |source: &&Source| source.active() && after.is_none_or(|place| source.place > place);
    let (mut list, mut more, mut given) = (BytesMut::new(), false, false);
    for source in alarms.sources.iter().filter(active) {
        let summary = summary(alarms, source)?;
        // One is always given: whether it can be sent is seen there.
        if given && out.len() + AROUND + list.len() + summary.len() > room {
            more = true;
            break;
        }
        given = true;
        list.extend_from_slice(&summary);
    }
    tags::encode_opening_tag(out, 0);
    out.extend_from_slice(&list);
    tags::encode_closing_tag(out, 0);
    primitives::encode_ctx_boolean(out, 1, more);
    Ok(())
}

/// Octets around the summaries: two tags and moreEvents.
const AROUND: usize = 4;

/// One summary as it stands in the list.
fn summary(alarms: &Alarms, source: &Source) -> Result<Bytes, Refused> {
    let class = alarms.class(source.settings.class);
    let one = EventSummary {
        object_identifier: source.id,
        event_state: state(source),
        acknowledged_transitions: bits(&source.memory.acked),
        event_timestamps: stamps(source),
        notify_type: if source.settings.event { NotifyType::EVENT } else { NotifyType::ALARM },
        event_enable: bits(&source.settings.enabled),
        event_priorities: class.map_or([255; 3], |class| class.priority.0.map(u32::from)),
    };
    let mut whole = BytesMut::with_capacity(96);
    let ack = GetEventInformationAck { list_of_event_summaries: vec![one], more_events: false };
    ack.encode(&mut whole).map_err(|_| Refused::Reject(RejectReason::OTHER))?;
    // Between the tags that open and close the list; moreEvents stands behind.
    let end = whole.len().saturating_sub(AROUND - 1);
    Ok(whole.freeze().get(1..end).map(Bytes::copy_from_slice).unwrap_or_default())
}

/// GetAlarmSummary: what is not normal and an alarm.
pub(in crate::bacnet) fn alarm_summary(alarms: &Alarms, params: &[u8], out: &mut BytesMut) -> Result<(), Refused> {
    if !params.is_empty() {
        return Err(Refused::Reject(RejectReason::TOO_MANY_ARGUMENTS));
    }
    let alarming =
        alarms.sources.iter().filter(|source| source.memory.state != State::Normal && !source.settings.event);
    let entries = alarming
        .map(|source| AlarmSummaryEntry {
            object_identifier: source.id,
            alarm_state: state(source),
            acknowledged_transitions: bits(&source.memory.acked),
        })
        .collect();
    GetAlarmSummaryAck { entries }.encode(out);
    Ok(())
}

/// GetEnrollmentSummary: what can report, by the filters.
pub(in crate::bacnet) fn enrollment_summary(alarms: &Alarms, params: &[u8], out: &mut BytesMut) -> Result<(), Refused> {
    let request = GetEnrollmentSummaryRequest::decode(params)?;
    let fits = |source: &&Source| {
        let state = source.memory.state;
        let acked = !source.memory.acked.0.contains(&false);
        let class = alarms.class(source.settings.class);
        let priority = class.map_or(255, |class| *class.priority.of(state.transition()));
        let by_ack = match request.acknowledgment_filter {
            AcknowledgmentFilter::ACKED => acked,
            AcknowledgmentFilter::NOT_ACKED => !acked,
            _ => true,
        };
        let by_state = match request.event_state_filter {
            Some(StateFilter::OFFNORMAL) => state.transition() == Transition::Offnormal,
            Some(StateFilter::FAULT) => state == State::Fault,
            Some(StateFilter::NORMAL) => state == State::Normal,
            Some(StateFilter::ACTIVE) => state != State::Normal,
            _ => true,
        };
        let by_recipient = request.enrollment_filter.as_ref().is_none_or(|wanted| {
            class.is_some_and(|class| {
                class.recipients().iter().any(|named| {
                    named.recipient == wanted.recipient && named.process_identifier == wanted.process_identifier
                })
            })
        });
        by_ack
            && by_state
            && by_recipient
            && request.event_type_filter.is_none_or(|wanted| wanted == source.event_type(State::Normal, State::Normal))
            && request.priority_filter.is_none_or(|by| (by.min_priority..=by.max_priority).contains(&priority))
            && request.notification_class_filter.is_none_or(|wanted| wanted == source.settings.class)
    };
    let entries = alarms
        .sources
        .iter()
        .filter(fits)
        .map(|source| EnrollmentSummaryEntry {
            object_identifier: source.id,
            event_type: source.event_type(State::Normal, State::Normal),
            event_state: state(source),
            priority: alarms
                .class(source.settings.class)
                .map_or(255, |class| *class.priority.of(source.memory.state.transition())),
            notification_class: Some(source.settings.class),
        })
        .collect();
    GetEnrollmentSummaryAck { entries }.encode(out);
    Ok(())
}
