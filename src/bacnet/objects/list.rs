//! AddListElement and RemoveListElement (clauses 15.1, 15.2): all elements or none.

use bacnet_services::list_manipulation::ListElementRequest;
use bacnet_types::enums::{PropertyIdentifier as P, RejectReason};

use super::{Access, Body, View};
use crate::bacnet::alarm;
use crate::bacnet::answer::{Failure, Refused};
use crate::bacnet::own::Change;
use crate::bacnet::restart;

/// Why a list was not changed: the failure and the first element that failed, 0 when it was none of them.
pub(in crate::bacnet) type NotChanged = (Failure, u32);

/// What a request changes; `Err` of the inner result is a ChangeList-Error.
pub(in crate::bacnet) fn change_list(
    view: &View<'_>,
    params: &[u8],
    add: bool,
) -> Result<Result<Change, NotChanged>, Refused> {
    let request = ListElementRequest::decode(params)?;
    if request.list_of_elements.is_empty() {
        return Err(Refused::Reject(RejectReason::MISSING_REQUIRED_PARAMETER));
    }
    Ok(change(view, &request, add))
}

fn change(view: &View<'_>, request: &ListElementRequest, add: bool) -> Result<Change, NotChanged> {
    let entry = view.catalog.find(request.object_identifier).ok_or((Failure::UNKNOWN_OBJECT, 0))?;
    let row = entry.row(request.property_identifier).ok_or((Failure::UNKNOWN_PROPERTY, 0))?;
    let ours = matches!(request.property_identifier, P::RECIPIENT_LIST | P::RESTART_NOTIFICATION_RECIPIENTS);
    if ours && request.property_array_index.is_some() {
        return Err((Failure::NOT_AN_ARRAY, 0));
    }
    let wanted = &request.list_of_elements;
    Ok(match (entry.body, request.property_identifier) {
        (Body::Class(place), P::RECIPIENT_LIST) => {
            let class = view.alarms.class_at(place).ok_or((Failure::UNKNOWN_OBJECT, 0))?;
            let elements = alarm::destinations(wanted).map_err(unread)?;
            let list = edit(class.recipients(), elements, add, alarm::checked)?;
            Change::Alarm(alarm::Change::Recipients(place, list))
        }
        (Body::Device, P::RESTART_NOTIFICATION_RECIPIENTS) => {
            let elements = restart::recipients(wanted).map_err(unread)?;
            Change::Recipients(edit(view.own.restart.recipients(), elements, add, restart::checked)?)
        }
        (_, P::ACTIVE_COV_SUBSCRIPTIONS | P::DEVICE_ADDRESS_BINDING) if row.access == Access::Read => {
            return Err((Failure::WRITE_DENIED, 0));
        }
        _ => return Err((Failure::NOT_A_LIST, 0)),
    })
}

/// Which of the elements cannot be read is not looked for.
const fn unread(failure: Failure) -> NotChanged {
    (failure, 1)
}

/// A list with these elements more, or without them.
fn edit<T: Clone + PartialEq>(
    list: &[T],
    elements: Vec<T>,
    add: bool,
    checked: fn(Vec<T>) -> Result<Vec<T>, Failure>,
) -> Result<Vec<T>, NotChanged> {
    let mut list = list.to_vec();
    for (number, element) in (1..).zip(elements) {
        let there = list.iter().position(|other| *other == element);
        match (add, there) {
            (true, Some(_)) => {}
            (true, None) => {
                list.push(element);
                list = checked(list).map_err(|failure| match failure {
                    Failure::NO_SPACE_TO_WRITE => (Failure::NO_SPACE, number),
                    other => (other, number),
                })?;
            }
            (false, Some(place)) => drop(list.remove(place)),
            (false, None) => return Err((Failure::NO_ELEMENT, number)),
        }
    }
    Ok(list)
}
