//! Zones under one electrical limit: how it is split among them. The parts never add up to more than there is.

use crate::units::Watts;

/// What one zone needs of a shared limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Need {
    /// It cannot be held below this.
    pub floor: Watts,
    /// What it would use.
    pub wanted: Watts,
    /// It has no use for more than this.
    pub rated: Watts,
}

/// Parts of `available`: first the floors, then what is wanted, then what is left over, each in proportion to rated power
/// as far as a zone has use for it. Where not even the floors fit, they are all cut by the same share.
pub(super) fn split(needs: &[Need], available: Watts) -> Vec<Watts> {
    let available = available.max(Watts::ZERO);
    let floors: Vec<Watts> = needs.iter().map(|need| need.floor.max(Watts::ZERO).min(need.rated)).collect();
    let sum: Watts = floors.iter().copied().sum();
    if sum >= available {
        let part = available.ratio(sum).unwrap_or(0.0);
        return floors.into_iter().map(|floor| floor * part).collect();
    }
    let mut parts = floors;
    fill(&mut parts, needs, available, |need| need.wanted.min(need.rated));
    fill(&mut parts, needs, available, |need| need.rated);
    parts
}

/// Raise the parts together, in proportion to rated power, each up to its bound, until nothing is left.
fn fill(parts: &mut [Watts], needs: &[Need], available: Watts, bound: fn(&Need) -> Watts) {
    // Each round fills one zone or ends.
    for _ in 0..=needs.len() {
        let used: Watts = parts.iter().copied().sum();
        let left = available - used;
        let open = |(part, need): (&Watts, &Need)| *part < bound(need);
        let weights: f64 =
            parts.iter().zip(needs).filter(|(part, need)| open((part, need))).map(|(_, need)| need.rated.get()).sum();
        if left <= Watts::of(1e-6) || weights <= 0.0 {
            return;
        }
        // As far as the first of them goes.
        let per_weight = parts
            .iter()
            .zip(needs)
            .filter(|(part, need)| open((part, need)))
            .map(|(part, need)| (bound(need) - *part).get() / need.rated.get())
            .fold(left.get() / weights, f64::min);
        for (part, need) in parts.iter_mut().zip(needs) {
            if *part < bound(need) {
                *part = (*part + need.rated * per_weight).min(bound(need));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn need(floor: f64, wanted: f64, rated: f64) -> Need {
        Need { floor: Watts::from_kw(floor), wanted: Watts::from_kw(wanted), rated: Watts::from_kw(rated) }
    }

    fn kw(parts: &[Watts]) -> Vec<f64> {
        parts.iter().map(|part| (part.kw() * 1e6).round() / 1e6).collect()
    }

    #[test]
    fn scarce_power_is_shared_by_rated_power_and_nobody_is_given_what_he_has_no_use_for() {
        let needs = [need(15.0, 60.0, 60.0), need(5.0, 20.0, 20.0)];
        assert_eq!(kw(&split(&needs, Watts::from_kw(40.0))), [30.0, 10.0]);
        let modest = [need(15.0, 20.0, 60.0), need(5.0, 20.0, 20.0)];
        assert_eq!(kw(&split(&modest, Watts::from_kw(40.0))), [20.0, 20.0]);
        assert_eq!(kw(&split(&modest, Watts::from_kw(60.0))), [40.0, 20.0]);
        assert_eq!(kw(&split(&modest, Watts::from_kw(10.0))), [7.5, 2.5]);
        assert_eq!(kw(&split(&modest, Watts::from_kw(-5.0))), [0.0, 0.0]);
        assert_eq!(split(&[], Watts::from_kw(5.0)), []);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn the_parts_never_add_up_to_more(
            needs in prop::collection::vec((0.0..30.0f64, 0.0..90.0f64, 0.0..80.0f64), 0..6), available in -10.0..300.0f64,
        ) {
            let needs: Vec<Need> = needs.into_iter().map(|(floor, wanted, rated)| need(floor, wanted, rated)).collect();
            let parts = split(&needs, Watts::from_kw(available));
            let sum: Watts = parts.iter().copied().sum();
            prop_assert!(sum <= Watts::from_kw(available).max(Watts::ZERO) + Watts::of(1e-3), "{sum} of {available} kW");
            for (part, need) in parts.iter().zip(&needs) {
                prop_assert!(*part >= Watts::ZERO && *part <= need.rated + Watts::of(1e-6));
            }
            let rated: Watts = needs.iter().map(|need| need.rated).sum();
            prop_assert!(sum + Watts::of(1e-3) >= Watts::from_kw(available).min(rated), "all of it is shared out");
        }
    }
}
