//! Event detection (clauses 13.2.2 to 13.4): one value with its reliability, and time, to transitions of Event_State.
//!
//! ```text
//!            abnormal for the delay
//!   NORMAL ----------------------------> OFFNORMAL, HIGH_LIMIT, LOW_LIMIT
//!     ^  <----------------------------      |
//!     |     normal for its own delay        | not reliable, at once
//!     +------------- FAULT <----------------+  (from NORMAL too; another fault is another transition)
//!        reliable again, at once
//! ```

use std::time::Duration;

use crate::time::Mono;

/// BACnetEventState (clause 21).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::bacnet) enum State {
    #[default]
    Normal,
    Fault,
    Offnormal,
    HighLimit,
    LowLimit,
}

impl State {
    const ALL: [Self; 5] = [Self::Normal, Self::Fault, Self::Offnormal, Self::HighLimit, Self::LowLimit];

    /// Its number.
    pub(in crate::bacnet) const fn raw(self) -> u8 {
        self as u8
    }

    /// From its number.
    pub(in crate::bacnet) fn from_raw(raw: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|state| u32::from(state.raw()) == raw)
    }

    /// Which of the three transitions ends in it.
    pub(in crate::bacnet) const fn transition(self) -> Transition {
        match self {
            Self::Normal => Transition::Normal,
            Self::Fault => Transition::Fault,
            Self::Offnormal | Self::HighLimit | Self::LowLimit => Transition::Offnormal,
        }
    }
}

/// Which way: the order of BACnetEventTransitionBits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bacnet) enum Transition {
    Offnormal,
    Fault,
    Normal,
}

/// One thing for each transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::bacnet) struct Three<T>(pub(in crate::bacnet) [T; 3]);

impl<T> Three<T> {
    /// Of one of them.
    pub(in crate::bacnet) const fn of(&self, which: Transition) -> &T {
        let Self([offnormal, fault, normal]) = self;
        match which {
            Transition::Offnormal => offnormal,
            Transition::Fault => fault,
            Transition::Normal => normal,
        }
    }

    /// Of one of them, to change it.
    pub(in crate::bacnet) const fn of_mut(&mut self, which: Transition) -> &mut T {
        let Self([offnormal, fault, normal]) = self;
        match which {
            Transition::Offnormal => offnormal,
            Transition::Fault => fault,
            Transition::Normal => normal,
        }
    }
}

/// What is abnormal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::bacnet) enum Rule {
    /// CHANGE_OF_STATE of a binary (clause 13.3.2): this number.
    State(f64),
    /// OUT_OF_RANGE (clause 13.3.6).
    Limits(Limits),
}

/// High_Limit, Low_Limit, Deadband, Limit_Enable.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(in crate::bacnet) struct Limits {
    pub(in crate::bacnet) high: f64,
    pub(in crate::bacnet) low: f64,
    pub(in crate::bacnet) deadband: f64,
    pub(in crate::bacnet) high_enabled: bool,
    pub(in crate::bacnet) low_enabled: bool,
}

/// What detection goes by.
#[derive(Debug, Clone, Copy)]
pub(in crate::bacnet) struct Rules {
    pub(in crate::bacnet) rule: Rule,
    /// Time_Delay.
    pub(in crate::bacnet) delay: Duration,
    /// Time_Delay_Normal.
    pub(in crate::bacnet) delay_normal: Duration,
}

/// What is seen of the object now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::bacnet) struct Seen {
    /// Present_Value; `None`: not a number.
    pub(in crate::bacnet) value: Option<f64>,
    /// BACnetReliability, 0 for no fault.
    pub(in crate::bacnet) reliability: u32,
}

/// A transition that waits for its delay.
#[derive(Debug, Default)]
pub(in crate::bacnet) struct Detector {
    waiting: Option<(State, Mono)>,
}

impl Detector {
    /// The transition that is due in a state that was entered with this reliability, if any. Ask again after it was made.
    pub(in crate::bacnet) fn step(
        &mut self,
        rules: &Rules,
        (state, fault): (State, u32),
        seen: Seen,
        now: Mono,
    ) -> Option<State> {
        if seen.reliability != 0 {
            self.waiting = None;
            return (state != State::Fault || fault != seen.reliability).then_some(State::Fault);
        }
        if state == State::Fault {
            self.waiting = None;
            return Some(State::Normal);
        }
        let Some((next, at_once)) = seen.value.and_then(|value| wanted(&rules.rule, state, value)) else {
            self.waiting = None;
            return None;
        };
        let since = match self.waiting {
            Some((waiting, since)) if waiting == next => since,
            _ => now,
        };
        if at_once || now.since(since) >= Self::delay(rules, next) {
            self.waiting = None;
            return Some(next);
        }
        self.waiting = Some((next, since));
        None
    }

    const fn delay(rules: &Rules, next: State) -> Duration {
        match next {
            State::Normal => rules.delay_normal,
            _ => rules.delay,
        }
    }

    /// When the delay of what waits is over.
    pub(in crate::bacnet) fn wake(&self, rules: &Rules) -> Option<Mono> {
        self.waiting.map(|(next, since)| since.after(Self::delay(rules, next)))
    }
}

/// Where the algorithm wants to go, and whether it does not wait for that.
fn wanted(rule: &Rule, state: State, value: f64) -> Option<(State, bool)> {
    match (rule, state) {
        (_, State::Fault) => None,
        (Rule::State(abnormal), State::Normal) => (value == *abnormal).then_some((State::Offnormal, false)),
        (Rule::State(abnormal), _) => (value != *abnormal).then_some((State::Normal, false)),
        (Rule::Limits(limits), State::Normal) => {
            if limits.high_enabled && value > limits.high {
                Some((State::HighLimit, false))
            } else {
                (limits.low_enabled && value < limits.low).then_some((State::LowLimit, false))
            }
        }
        // What is no longer watched is over at once.
        (Rule::Limits(limits), State::HighLimit) if !limits.high_enabled => Some((State::Normal, true)),
        (Rule::Limits(limits), State::LowLimit) if !limits.low_enabled => Some((State::Normal, true)),
        (Rule::Limits(limits), State::HighLimit) => {
            (value < limits.high - limits.deadband).then_some((State::Normal, false))
        }
        (Rule::Limits(limits), State::LowLimit) => {
            (value > limits.low + limits.deadband).then_some((State::Normal, false))
        }
        // Of another algorithm, from before the mapping changed.
        (Rule::Limits(_), State::Offnormal) => Some((State::Normal, true)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A detector in its own time, and the states it went through.
    struct Bench {
        rules: Rules,
        state: (State, u32),
        detector: Detector,
        now: Mono,
    }

    const NO_FAULT: u32 = 0;

    impl Bench {
        fn new(rule: Rule, delay: u64, delay_normal: u64) -> Self {
            let [delay, delay_normal] = [delay, delay_normal].map(Duration::from_secs);
            let rules = Rules { rule, delay, delay_normal };
            Self { rules, state: (State::Normal, 0), detector: Detector::default(), now: Mono::START }
        }

        fn see(&mut self, value: f64, reliability: u32) -> Vec<State> {
            let seen = Seen { value: Some(value).filter(|value| !value.is_nan()), reliability };
            let mut made = Vec::new();
            while let Some(next) = self.detector.step(&self.rules, self.state, seen, self.now) {
                self.state = (next, reliability);
                made.push(next);
                assert!(made.len() < 5, "{made:?}");
            }
            made
        }

        fn after(&mut self, seconds: u64, value: f64) -> Vec<State> {
            self.now = self.now.after(Duration::from_secs(seconds));
            self.see(value, NO_FAULT)
        }
    }

    fn limits() -> Limits {
        Limits { high: 70.0, low: 5.0, deadband: 2.0, high_enabled: true, low_enabled: true }
    }

    #[test]
    fn a_limit_must_be_exceeded_for_the_whole_delay() {
        let mut bench = Bench::new(Rule::Limits(limits()), 10, 5);
        assert!(bench.after(0, 70.0).is_empty(), "at the limit is within it");
        assert!(bench.after(0, 70.1).is_empty());
        assert_eq!(bench.detector.wake(&bench.rules), Some(bench.now.after(Duration::from_secs(10))));
        assert!(bench.after(9, 90.0).is_empty());
        assert!(bench.after(0, 70.0).is_empty(), "back within: from the start");
        assert!(bench.after(1, 71.0).is_empty());
        assert!(bench.after(9, 71.0).is_empty());
        assert_eq!(bench.after(1, 71.0), [State::HighLimit]);
        // the deadband, then the other delay
        assert!(bench.after(100, 68.0).is_empty(), "not yet by more than the deadband");
        assert!(bench.after(0, 67.9).is_empty());
        assert!(bench.after(4, 67.9).is_empty());
        assert!(bench.after(0, 68.5).is_empty());
        assert!(bench.after(4, 67.9).is_empty());
        assert_eq!(bench.after(5, 67.9), [State::Normal]);
        assert_eq!(bench.detector.wake(&bench.rules), None);
    }

    #[test]
    fn from_one_limit_to_the_other_it_passes_through_normal() {
        let mut bench = Bench::new(Rule::Limits(limits()), 0, 0);
        assert_eq!(bench.see(80.0, NO_FAULT), [State::HighLimit]);
        assert_eq!(bench.see(1.0, NO_FAULT), [State::Normal, State::LowLimit]);
        assert!(bench.see(7.0, NO_FAULT).is_empty());
        assert_eq!(bench.see(7.1, NO_FAULT), [State::Normal]);
    }

    #[test]
    fn a_limit_that_is_not_watched_is_none_and_its_alarm_is_over_at_once() {
        let mut bench = Bench::new(Rule::Limits(limits()), 0, 60);
        assert_eq!(bench.see(80.0, NO_FAULT), [State::HighLimit]);
        bench.rules.rule = Rule::Limits(Limits { high_enabled: false, ..limits() });
        assert_eq!(bench.see(80.0, NO_FAULT), [State::Normal]);
        assert!(bench.see(1e9, NO_FAULT).is_empty());
    }

    #[test]
    fn a_fault_comes_first_has_no_delay_and_another_one_is_told() {
        let mut bench = Bench::new(Rule::Limits(limits()), 10, 10);
        assert!(bench.see(80.0, NO_FAULT).is_empty());
        assert_eq!(bench.see(80.0, 12), [State::Fault]);
        assert!(bench.see(80.0, 12).is_empty());
        assert_eq!(bench.see(80.0, 7), [State::Fault]);
        // reliable again: normal first, then the delay from its start
        assert_eq!(bench.after(100, 80.0), [State::Normal]);
        assert!(bench.after(9, 80.0).is_empty());
        assert_eq!(bench.after(1, 80.0), [State::HighLimit]);
        assert_eq!(bench.see(80.0, 12), [State::Fault]);
        let mut quick = Bench::new(Rule::Limits(limits()), 0, 0);
        quick.see(80.0, 12);
        assert_eq!(quick.see(80.0, NO_FAULT), [State::Normal, State::HighLimit]);
    }

    #[test]
    fn a_binary_alarm_comes_and_goes_with_its_value() {
        let mut bench = Bench::new(Rule::State(1.0), 0, 3);
        assert!(bench.see(0.0, NO_FAULT).is_empty());
        assert_eq!(bench.see(1.0, NO_FAULT), [State::Offnormal]);
        assert!(bench.see(1.0, NO_FAULT).is_empty());
        assert!(bench.after(2, 0.0).is_empty());
        assert_eq!(bench.after(3, 0.0), [State::Normal]);
        let mut inverse = Bench::new(Rule::State(0.0), 0, 0);
        assert_eq!(inverse.see(0.0, NO_FAULT), [State::Offnormal]);
    }

    #[test]
    fn what_is_no_number_and_reliable_changes_nothing() {
        let mut bench = Bench::new(Rule::Limits(limits()), 0, 0);
        bench.see(80.0, NO_FAULT);
        assert!(bench.see(f64::NAN, NO_FAULT).is_empty());
        assert_eq!(bench.state.0, State::HighLimit);
    }
}
