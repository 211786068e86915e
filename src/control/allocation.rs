//! Sharing a zone's power among its heaters, in proportion: x = low + weight * rest / sum of weights, clamped, and what
//! one cannot take goes to the others.

use crate::units::Watts;

/// What one heater can take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Room {
    /// With the zone off: 0 W where it may be switched off.
    pub rest: Watts,
    /// Least power that it follows.
    pub low: Watts,
    /// Most power that it takes.
    pub high: Watts,
    /// Its weight: rated power.
    pub weight: f64,
}

/// Shares that add up to `total`, as far as the heaters' highest powers allow.
///
/// Below the sum of the lowest powers the shares go evenly from `low` to `rest`, then to nothing, so that each share
/// grows with the total and never falls.
pub(super) fn share(rooms: &[Room], total: Watts) -> Vec<Watts> {
    let low: Watts = rooms.iter().map(|room| room.low.min(room.high)).sum();
    let rest: Watts = rooms.iter().map(resting).sum();
    if total >= low {
        above_low(rooms, total - low)
    } else if total >= rest {
        let part = (total - rest).ratio(low - rest).unwrap_or(0.0);
        rooms.iter().map(|room| resting(room) + (room.low.min(room.high) - resting(room)) * part).collect()
    } else {
        let part = total.max(Watts::ZERO).ratio(rest).unwrap_or(0.0);
        rooms.iter().map(|room| resting(room) * part).collect()
    }
}

fn resting(room: &Room) -> Watts {
    room.rest.min(room.low).min(room.high)
}

fn above_low(rooms: &[Room], rest: Watts) -> Vec<Watts> {
    let mut shares: Vec<Watts> = rooms.iter().map(|room| room.low.min(room.high)).collect();
    let mut open: Vec<bool> = rooms.iter().map(|room| room.weight > 0.0 && room.high > room.low).collect();
    let mut left = rest;
    // Each round fills at least one heater or ends.
    for _ in 0..=rooms.len() {
        let weights: f64 = rooms.iter().zip(&open).filter(|(_, open)| **open).map(|(room, _)| room.weight).sum();
        if left <= Watts::ZERO || weights <= 0.0 {
            break;
        }
        let per_weight = left / weights;
        let mut filled = false;
        for ((room, share), open) in rooms.iter().zip(&mut shares).zip(&mut open) {
            if *open && *share + per_weight * room.weight >= room.high {
                left = left - (room.high - *share);
                *share = room.high;
                *open = false;
                filled = true;
            }
        }
        if !filled {
            for ((room, share), open) in rooms.iter().zip(&mut shares).zip(&open) {
                if *open {
                    *share += per_weight * room.weight;
                }
            }
            break;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn room(rest: f64, low: f64, high: f64) -> Room {
        Room { rest: Watts::from_kw(rest), low: Watts::from_kw(low), high: Watts::from_kw(high), weight: high * 1000.0 }
    }

    fn kw(shares: &[Watts]) -> Vec<f64> {
        shares.iter().map(|share| (share.kw() * 1e6).round() / 1e6).collect()
    }

    #[test]
    fn shares_are_in_proportion() {
        let rooms = [room(5.0, 5.0, 20.0), room(5.0, 5.0, 20.0), room(2.5, 2.5, 10.0), room(2.5, 2.5, 10.0)];
        assert_eq!(kw(&share(&rooms, Watts::from_kw(30.0))), [10.0, 10.0, 5.0, 5.0]);
        assert_eq!(kw(&share(&rooms, Watts::from_kw(60.0))), [20.0, 20.0, 10.0, 10.0]);
        assert_eq!(kw(&share(&rooms, Watts::from_kw(99.0))), [20.0, 20.0, 10.0, 10.0]);
    }

    #[test]
    fn what_one_cannot_take_goes_to_the_others() {
        let mut rooms = [room(5.0, 5.0, 20.0), room(5.0, 5.0, 20.0)];
        rooms[0].high = Watts::from_kw(8.0);
        assert_eq!(kw(&share(&rooms, Watts::from_kw(24.0))), [8.0, 16.0]);
    }

    #[test]
    fn below_the_lowest_only_those_that_may_are_switched_off() {
        let rooms = [room(0.0, 5.0, 20.0), room(5.0, 5.0, 20.0)];
        assert_eq!(kw(&share(&rooms, Watts::from_kw(5.0))), [0.0, 5.0]);
        assert_eq!(kw(&share(&rooms, Watts::from_kw(7.5))), [2.5, 5.0]);
        assert_eq!(kw(&share(&rooms, Watts::ZERO)), [0.0, 0.0]);
        assert_eq!(kw(&share(&[], Watts::from_kw(3.0))), [] as [f64; 0]);
    }

    prop_compose! {
        fn any_room()(rest in 0.0..6.0f64, low in 0.0..6.0f64, high in 0.0..20.0f64) -> Room {
            room(rest, low, high)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn shares_add_up_and_grow_with_the_total(
            rooms in prop::collection::vec(any_room(), 1..6), total in 0.0..100.0f64, more in 0.0..10.0f64,
        ) {
            let (small, big) = (share(&rooms, Watts::from_kw(total)), share(&rooms, Watts::from_kw(total + more)));
            let most: Watts = rooms.iter().map(|room| room.high).sum();
            let sum: Watts = small.iter().copied().sum();
            prop_assert!((sum - Watts::from_kw(total).min(most)).abs().get() < 1e-3, "{sum} of {total}");
            for ((room, small), big) in rooms.iter().zip(&small).zip(&big) {
                prop_assert!(*small >= Watts::ZERO && *small <= room.high + Watts::of(1e-6));
                prop_assert!(*big >= *small - Watts::of(1e-6));
            }
        }
    }
}
