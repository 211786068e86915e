//! One master's requests, whatever wire they come by: a PDU in, a reply out.

use std::sync::Arc;
use std::time::Duration;

use super::access::Rights;
use super::settings::{Settings, View};
use crate::modbus::address::AddressSpace;
use crate::modbus::pdu::Exception;
use crate::modbus::reply::{self, Step};
use crate::plant::Plant;
use crate::point::Image;
use crate::ports::Ports;
use crate::request::{Origin, Refusal, Request};
use crate::telemetry::LinkCounter;

/// How long a reply waits for an image that shows what was written. The engine publishes before it agrees, so this is
/// a bound, not a delay.
const SHOWN: Duration = Duration::from_secs(1);

/// How often a mask is applied anew because somebody else wrote the same point in between; then it is busy.
const MASK_TRIES: usize = 8;

/// What all masters of a listener share.
pub(super) struct Shared {
    pub settings: Settings,
    pub units: Units,
    pub ports: Ports,
    pub counter: LinkCounter,
}

/// Which unit shows what.
pub(super) struct Units {
    by_number: Vec<(u8, AddressSpace)>,
}

impl Units {
    pub fn new(plant: &Plant, units: &[(u8, View)]) -> Self {
        let whole = AddressSpace::new(plant);
        let by_number = units.iter().map(|(unit, view)| match *view {
            View::Whole => (*unit, whole.clone()),
            View::Window { first, count } => (*unit, whole.window(first, count)),
        });
        Self { by_number: by_number.collect() }
    }

    /// What this unit shows; `None` when nobody stands behind it.
    pub fn get(&self, unit: u8) -> Option<&AddressSpace> {
        self.by_number.iter().find(|(number, _)| *number == unit).map(|(_, space)| space)
    }

    /// What the listener itself shows: its first unit.
    pub fn first(&self) -> Option<&AddressSpace> {
        self.by_number.first().map(|(_, space)| space)
    }
}

/// One master.
pub(super) struct Session<'a> {
    pub shared: &'a Shared,
    pub origin: Origin,
    pub rights: Rights,
}

impl Session<'_> {
    /// Append the reply to one PDU.
    pub async fn answer(&self, space: &AddressSpace, pdu: &[u8], out: &mut Vec<u8>) {
        if let Err(exception) = pdu.first().map_or(Ok(()), |function| self.rights.check(*function)) {
            self.shared.ports.metrics.rejected(&self.shared.settings.name, "not allowed");
            return reply::refuse(pdu, exception, out);
        }
        let Shared { settings, ports, .. } = self.shared;
        for _ in 0..MASK_TRIES {
            let image = Arc::clone(&ports.image.borrow());
            let step = reply::begin(space, &settings.identity, &image, pdu, settings.write_priority, out);
            let Step::Ask { writes, then } = step else { return };
            match ports.requests.submit(Request { origin: self.origin.clone(), writes }).await {
                Ok(accepted) => {
                    let image = self.image_from(accepted.image_seq).await;
                    return reply::finish(space, &image, pdu, then, out);
                }
                // Somebody else wrote between our look and our write: look again, at what they wrote.
                Err(Refusal::Changed { .. }) => drop(self.image_from(image.seq + 1).await),
                Err(refusal) => {
                    if refusal == Refusal::Busy {
                        ports.metrics.dropped(&settings.name, "engine busy");
                    }
                    return reply::refuse(pdu, reply::exception(&refusal), out);
                }
            }
        }
        reply::refuse(pdu, Exception::Busy, out);
    }

    /// The newest image, at least this one.
    async fn image_from(&self, seq: u64) -> Arc<Image> {
        let mut images = self.shared.ports.image.clone();
        // An engine that is gone or late shows what there is: its agreement stands either way.
        let _ = tokio::time::timeout(SHOWN, images.wait_for(|image| image.seq >= seq)).await;
        Arc::clone(&images.borrow())
    }
}
