//! Replies that never came and may still come. Pure.
//!
//! On a line of RTU frames a reply says nothing of its request but its unit, function and length. A slave answers in
//! order and at most once. So after a request without a reply, a request of the same shape is not asked again before one
//! of another length was answered: whatever arrives before that answer is older, and is told apart by its length,
//! however late it is. Exceptions have no length: as many as are owed may be older ones, too.

use tokio_modbus::Request;

/// The shape of a read's reply: function, and how many bytes of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    unit: u8,
    function: u8,
    bytes: u16,
}

/// What is owed on a line.
#[derive(Debug, Default)]
pub(super) struct Owed(Vec<Shape>);

/// More are not told apart; the oldest is forgotten.
const MOST: usize = 32;

impl Owed {
    /// No answer came, or none that could be understood.
    pub(super) fn add(&mut self, unit: u8, request: &Request<'_>) {
        let Some(shape) = shape(unit, request).filter(|shape| !self.0.contains(shape)) else { return };
        if self.0.len() >= MOST {
            self.0.remove(0);
        }
        self.0.push(shape);
    }

    /// How many exceptions of this unit may be older than the one that is waited for.
    pub(super) fn exceptions(&self, unit: u8) -> usize {
        self.0.iter().filter(|shape| shape.unit == unit).count()
    }

    /// The read that has to be answered before this one may be asked.
    pub(super) fn before(&self, unit: u8, request: &Request<'_>) -> Option<Request<'static>> {
        let asked = shape(unit, request).filter(|shape| self.0.contains(shape))?;
        let counts = (1..=64).map(|n| if asked.function <= 2 { n * 8 } else { n });
        counts
            .filter_map(|count| of(request, count))
            .find(|other| shape(unit, other).is_some_and(|shape| !self.0.contains(&shape)))
    }

    /// It was answered: all that is older was, too, or never will be. An answer to a read of a shape that is owed proves
    /// nothing.
    pub(super) fn answered(&mut self, unit: u8, request: &Request<'_>) {
        if shape(unit, request).is_some_and(|shape| !self.0.contains(&shape)) {
            self.0.retain(|shape| shape.unit != unit);
        }
    }

    /// A unit has been silent for so long that nothing is on its way any more.
    pub(super) fn forget(&mut self, unit: u8) {
        self.0.retain(|shape| shape.unit != unit);
    }
}

fn shape(unit: u8, request: &Request<'_>) -> Option<Shape> {
    let (function, bytes) = match request {
        Request::ReadCoils(_, count) => (1, count.div_ceil(8)),
        Request::ReadDiscreteInputs(_, count) => (2, count.div_ceil(8)),
        Request::ReadHoldingRegisters(_, count) => (3, count.checked_mul(2)?),
        Request::ReadInputRegisters(_, count) => (4, count.checked_mul(2)?),
        _ => return None,
    };
    Some(Shape { unit, function, bytes })
}

/// The same read with another count.
fn of(request: &Request<'_>, count: u16) -> Option<Request<'static>> {
    Some(match request {
        Request::ReadCoils(address, _) => Request::ReadCoils(*address, count),
        Request::ReadDiscreteInputs(address, _) => Request::ReadDiscreteInputs(*address, count),
        Request::ReadHoldingRegisters(address, _) => Request::ReadHoldingRegisters(*address, count),
        Request::ReadInputRegisters(address, _) => Request::ReadInputRegisters(*address, count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_is_not_asked_again_before_another_length_was_answered() {
        let mut owed = Owed::default();
        let two = Request::ReadInputRegisters(0, 2);
        let elsewhere = Request::ReadInputRegisters(40, 2);
        let one = Request::ReadInputRegisters(0, 1);
        assert_eq!(owed.before(7, &two), None);
        owed.add(7, &two);
        assert_eq!(owed.before(7, &elsewhere), Some(Request::ReadInputRegisters(40, 1)), "the length is the same");
        assert_eq!(owed.before(8, &two), None, "another unit");
        assert_eq!(owed.before(7, &Request::ReadHoldingRegisters(0, 2)), None, "another function");
        assert_eq!(owed.exceptions(7), 1);
        owed.add(7, &one);
        owed.add(7, &one);
        assert_eq!(owed.before(7, &two), Some(Request::ReadInputRegisters(0, 3)), "that was not answered either");
        assert_eq!(owed.exceptions(7), 2);
        owed.answered(7, &elsewhere);
        assert_eq!(owed.exceptions(7), 2, "its answer may be an old one");
        owed.answered(7, &Request::ReadInputRegisters(0, 3));
        assert_eq!(owed.before(7, &two), None);
    }

    #[test]
    fn bits_come_in_bytes_and_writes_owe_nothing() {
        let mut owed = Owed::default();
        let coils = Request::ReadCoils(4, 3);
        owed.add(1, &coils);
        assert_eq!(owed.before(1, &Request::ReadCoils(9, 8)), Some(Request::ReadCoils(9, 16)));
        owed.add(1, &Request::WriteSingleCoil(0, true));
        assert_eq!(owed.exceptions(1), 1);
        for count in 1..200 {
            owed.add(2, &Request::ReadHoldingRegisters(0, count));
        }
        assert_eq!(owed.0.len(), MOST);
        owed.forget(2);
        owed.forget(1);
        assert_eq!(owed.0, []);
    }
}
