//! AddListElement and RemoveListElement (clauses 15.1, 15.2): all elements or none.

use bacnet_services::list_manipulation::ListElementRequest;
use bacnet_types::enums::{PropertyIdentifier as P, RejectReason};

use super::{Access, Body, View};
use crate::bacnet::alarm::{self, Change};
use crate::bacnet::answer::{Failure, Refused};

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
    let (Body::Class(place), P::RECIPIENT_LIST) = (entry.body, request.property_identifier) else {
        let known = matches!(request.property_identifier, P::ACTIVE_COV_SUBSCRIPTIONS | P::DEVICE_ADDRESS_BINDING);
        let list = known && row.access == Access::Read;
        return Err((if list { Failure::WRITE_DENIED } else { Failure::NOT_A_LIST }, 0));
    };
    if request.property_array_index.is_some() {
        return Err((Failure::NOT_AN_ARRAY, 0));
    }
    let class = view.alarms.class_at(place).ok_or((Failure::UNKNOWN_OBJECT, 0))?;
    // Which of them cannot be read is not looked for.
    let elements = alarm::destinations(&request.list_of_elements).map_err(|failure| (failure, 1))?;
    let mut list = class.recipients().to_vec();
    for (number, element) in (1..).zip(elements) {
        let there = list.iter().position(|other| *other == element);
        match (add, there) {
            (true, Some(_)) => {}
            (true, None) => {
                list.push(element);
                list = alarm::checked(list).map_err(|failure| match failure {
                    Failure::NO_SPACE_TO_WRITE => (Failure::NO_SPACE, number),
                    other => (other, number),
                })?;
            }
            (false, Some(place)) => drop(list.remove(place)),
            (false, None) => return Err((Failure::NO_ELEMENT, number)),
        }
    }
    Ok(Change::Recipients(place, list))
}
