//! A heater's controller without its sockets: which command counts, what it does, and when it ends.

use std::collections::VecDeque;
use std::time::Duration;

use super::payload::{Ack, Command, Outcome, Telemetry};
use crate::sim::noise::Noise;
use crate::sim::plant::{HeaterModel, HeaterParams};
use crate::time::{Mono, Now};
use crate::units::Watts;

/// What a simulated heater is.
#[derive(Debug, Clone, PartialEq)]
pub struct HeaterOptions {
    /// The servers.
    pub params: HeaterParams,
    /// Share of full load for which there are jobs, 0..=1.
    pub jobs: f64,
    /// Time from a command to the servers' obedience: uniform between these, s of site time.
    pub delay: (f64, f64),
    /// Standard deviation of measured power, relative.
    pub noise: f64,
    /// Of delay and noise.
    pub seed: u64,
}

impl HeaterOptions {
    /// With jobs for everything, a command delay of 1 to 5 s and 0.5 % noise.
    pub fn rated(rated: Watts) -> Self {
        Self { params: HeaterParams::rated(rated), jobs: 1.0, delay: (1.0, 5.0), noise: 0.005, seed: 1 }
    }
}

/// Racks' inlet air, degC: below the gateway's soft limit of 32.
const INLET_C: f64 = 24.0;
/// Water out of the racks, degC, without power and what full power adds.
const OUTLET_C: (f64, f64) = (30.0, 16.0);
/// Longest step while the cap is on a ramp: closer than any reader's sampling.
const RAMP_STEP: Duration = Duration::from_millis(500);
/// Commands on their way to the servers; more are taken as one.
const ON_THE_WAY: usize = 16;

/// Where the cap goes, and how fast (W/s; 0 = at once).
#[derive(Debug, Clone, Copy)]
struct Goal {
    cap: Watts,
    ramp: f64,
}

/// When the lease ends, and where the cap goes then.
#[derive(Debug, Clone, Copy)]
struct Ending {
    at: Mono,
    fallback: Goal,
}

/// The newest command that was obeyed.
#[derive(Debug)]
struct Obeyed {
    boot_id: String,
    ack: Ack,
}

/// A heater's controller and its servers. Time is given; each call first runs the servers up to it.
#[derive(Debug)]
pub struct HeaterLogic {
    options: HeaterOptions,
    model: HeaterModel,
    noise: Noise,
    at: Mono,
    /// The cap in force.
    cap: Watts,
    goal: Goal,
    on_the_way: VecDeque<(Mono, Goal)>,
    obeyed: Option<Obeyed>,
    /// None before the first command and after its end.
    lease: Option<Ending>,
    ignored: u64,
}

impl HeaterLogic {
    /// At idle power, until a command comes.
    pub fn new(name: &str, options: HeaterOptions, now: Mono) -> Self {
        let idle = options.params.idle;
        Self {
            model: HeaterModel::new(options.params, idle),
            noise: Noise::named(options.seed, name),
            at: now,
            cap: idle,
            goal: Goal { cap: idle, ramp: 0.0 },
            on_the_way: VecDeque::new(),
            obeyed: None,
            lease: None,
            ignored: 0,
            options,
        }
    }

    /// Obey a command, or not. `None`: its sequence number is below the last one of the same boot, so it is ignored. An
    /// equal one is a repetition: the same answer, and no longer lease.
    pub fn on_command(&mut self, command: &Command, now: Mono) -> Option<Ack> {
        self.tick(now);
        if let Some(obeyed) = self.obeyed.as_ref().filter(|obeyed| obeyed.boot_id == command.boot_id) {
            if command.seq == obeyed.ack.seq {
                return Some(obeyed.ack.clone());
            }
            if command.seq < obeyed.ack.seq {
                self.ignored += 1;
                return None;
            }
        }
        let asked = Watts::of(command.p_max_w);
        let goal = Goal { cap: self.within(asked), ramp: command.ramp_w_per_s };
        let (result, reason) = if goal.cap == asked {
            (Outcome::Accepted, String::new())
        } else {
            let HeaterParams { idle, rated, .. } = self.options.params;
            (Outcome::Clamped, format!("outside its range of {idle:.0} to {rated:.0}"))
        };
        let fallback = Goal { cap: self.within(Watts::of(command.fallback_w)), ramp: command.ramp_w_per_s };
        let ttl = Duration::try_from_secs_f64(command.ttl_s).unwrap_or_default();
        self.lease = Some(Ending { at: now.after(ttl), fallback });
        self.send(goal, now);
        let ack = Ack {
            v: 1,
            cmd_id: command.cmd_id.clone(),
            seq: command.seq,
            result,
            applied_w: rounded(goal.cap.get(), 1.0),
            reason,
            valid_for_s: command.ttl_s,
        };
        self.obeyed = Some(Obeyed { boot_id: command.boot_id.clone(), ack: ack.clone() });
        Some(ack)
    }

    /// The answer to a message that is not a command but says whose answer it wants; nothing changes.
    pub fn reject(&self, cmd_id: String, seq: u64, why: String) -> Ack {
        let applied_w = rounded(self.cap.get(), 1.0);
        Ack { v: 1, cmd_id, seq, result: Outcome::Rejected, applied_w, reason: why, valid_for_s: 0.0 }
    }

    /// Run up to `now`: commands arrive at the servers, the lease ends, the cap goes along its ramp.
    pub fn tick(&mut self, now: Mono) {
        while self.at < now {
            let arrives = self.on_the_way.front().map(|(due, _)| *due);
            let ends = self.lease.map(|lease| lease.at);
            let until = [arrives, ends].into_iter().flatten().fold(now, Mono::min).max(self.at);
            self.run(until.since(self.at));
            self.at = until;
            if ends == Some(until) {
                self.lapse();
            } else if arrives == Some(until)
                && let Some((_, goal)) = self.on_the_way.pop_front()
            {
                self.goal = goal;
            }
        }
    }

    /// What it tells about itself at this instant.
    pub fn telemetry(&mut self, now: Now) -> Telemetry {
        self.tick(now.mono);
        let HeaterParams { idle, rated, .. } = self.options.params;
        let load = self.model.power().ratio(rated).unwrap_or(0.0);
        let power = self.noise.measured(self.model.power().get(), self.options.noise);
        Telemetry {
            v: 1,
            at: now.utc.to_string(),
            power_w: rounded(power.max(0.0), 1.0),
            min_w: rounded(idle.get(), 1.0),
            max_w: rounded(rated.get(), 1.0),
            jobs_w: rounded(self.model.jobs_power(self.options.jobs).get(), 1.0),
            inlet_c: INLET_C,
            outlet_c: rounded(OUTLET_C.0 + OUTLET_C.1 * load, 0.1),
            energy_wh: self.model.energy().wh(),
            state: "ready",
            applied_w: rounded(self.cap.get(), 1.0),
            seq: self.obeyed.as_ref().map(|obeyed| obeyed.ack.seq),
        }
    }

    /// Other jobs from now on, as a share of full load.
    pub fn set_jobs(&mut self, jobs: f64, now: Mono) {
        self.tick(now);
        self.options.jobs = jobs;
    }

    /// Power drawn, without measuring noise.
    pub const fn power(&self) -> Watts {
        self.model.power()
    }

    /// The cap in force.
    pub const fn cap(&self) -> Watts {
        self.cap
    }

    /// Commands ignored for their sequence number.
    pub const fn ignored(&self) -> u64 {
        self.ignored
    }

    fn within(&self, cap: Watts) -> Watts {
        cap.clamp(self.options.params.idle, self.options.params.rated)
    }

    /// On its way to the servers; commands do not overtake each other.
    fn send(&mut self, goal: Goal, now: Mono) {
        let delay = self.noise.between(self.options.delay.0, self.options.delay.1).max(0.0);
        let due = now.after(Duration::try_from_secs_f64(delay).unwrap_or_default());
        let due = self.on_the_way.back().map_or(due, |(before, _)| due.max(*before));
        if self.on_the_way.len() == ON_THE_WAY {
            self.on_the_way.pop_front();
        }
        self.on_the_way.push_back((due, goal));
    }

    /// The lease has ended: to its fallback. Down at once, because nobody watches any more; up only by the ramp.
    fn lapse(&mut self) {
        let Some(Ending { fallback, .. }) = self.lease.take() else { return };
        self.on_the_way.clear();
        self.goal = fallback;
        self.cap = self.cap.min(fallback.cap);
    }

    fn run(&mut self, span: Duration) {
        let mut left = span;
        // However slow the ramp and long the span, at most some 2,000 steps.
        let longest = RAMP_STEP.max(span / 2000);
        while self.goal.ramp > 0.0 && self.cap != self.goal.cap && !left.is_zero() {
            let step = longest.min(left);
            let reach = Watts::of(self.goal.ramp * step.as_secs_f64());
            self.model.step(self.cap, self.options.jobs, step);
            self.cap = self.goal.cap.clamp(self.cap - reach, self.cap + reach);
            left -= step;
        }
        if !left.is_zero() {
            self.cap = self.goal.cap;
            self.model.step(self.cap, self.options.jobs, left);
        }
    }
}

/// To a multiple of `step`, as an instrument shows it.
fn rounded(value: f64, step: f64) -> f64 {
    // Dividing by the inverse gives 24.1, where multiplying by 0.1 gives 24.100000000000001.
    let per = (1.0 / step).round();
    (value * per).round() / per
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::Utc;

    const RATED: Watts = Watts::from_kw(30.0);

    fn at(secs: f64) -> Mono {
        Mono::from_start(Duration::from_secs_f64(secs))
    }

    fn heater() -> HeaterLogic {
        HeaterLogic::new("rack-a", HeaterOptions::rated(RATED), Mono::START)
    }

    fn command(seq: u64, kw: f64) -> Command {
        Command {
            v: 1,
            cmd_id: format!("c{seq}"),
            boot_id: "boot-1".into(),
            seq,
            p_max_w: kw * 1000.0,
            ttl_s: 180.0,
            ramp_w_per_s: 0.0,
            fallback_w: 7500.0,
        }
    }

    fn kw(heater: &mut HeaterLogic, secs: f64) -> f64 {
        heater.tick(at(secs));
        heater.power().kw()
    }

    #[test]
    fn before_any_command_it_idles() {
        let mut heater = heater();
        assert!((kw(&mut heater, 1000.0) - 7.5).abs() < 1e-9);
        let told = heater.telemetry(Now { mono: at(1000.0), utc: Utc::from_millis(0) });
        assert_eq!((told.applied_w, told.min_w, told.max_w, told.jobs_w, told.seq), (7500.0, 7500.0, 30e3, 30e3, None));
        assert_eq!(told.energy_wh, 2083);
        assert_eq!(told.at, "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_command_is_acknowledged_and_followed() {
        let mut heater = heater();
        let ack = heater.on_command(&command(1, 20.0), at(10.0)).unwrap();
        assert_eq!((ack.result, ack.applied_w, ack.valid_for_s), (Outcome::Accepted, 20e3, 180.0));
        assert_eq!((ack.cmd_id.as_str(), ack.seq, ack.reason.as_str()), ("c1", 1, ""));
        // It takes 1 to 5 s until the servers hear of it.
        assert!((kw(&mut heater, 11.0) - 7.5).abs() < 1e-9);
        assert!((kw(&mut heater, 150.0) - 20.0).abs() < 0.02);
    }

    #[test]
    fn out_of_range_is_clamped_and_said() {
        let mut heater = heater();
        let low = heater.on_command(&command(1, 0.0), at(1.0)).unwrap();
        assert_eq!((low.result, low.applied_w), (Outcome::Clamped, 7500.0));
        assert!(low.reason.contains("7500 W to 30000 W"), "{}", low.reason);
        let high = heater.on_command(&command(2, 99.0), at(2.0)).unwrap();
        assert_eq!((high.result, high.applied_w), (Outcome::Clamped, 30e3));
        let negative = heater.on_command(&command(3, -5.0), at(3.0)).unwrap();
        assert_eq!((negative.result, negative.applied_w), (Outcome::Clamped, 7500.0));
    }

    #[test]
    fn the_sequence_rules() {
        let mut heater = heater();
        let first = heater.on_command(&command(5, 20.0), at(1.0)).unwrap();
        assert_eq!(heater.on_command(&command(5, 20.0), at(2.0)), Some(first), "a repetition has the same answer");
        assert_eq!(heater.on_command(&command(4, 30.0), at(3.0)), None);
        assert_eq!(heater.ignored(), 1);
        assert!((kw(&mut heater, 100.0) - 20.0).abs() < 0.2, "an ignored command does nothing");
        // A gateway that has started again counts from 1.
        let other = Command { boot_id: "boot-2".into(), ..command(1, 10.0) };
        assert_eq!(heater.on_command(&other, at(101.0)).unwrap().result, Outcome::Accepted);
        assert!((kw(&mut heater, 200.0) - 10.0).abs() < 0.01);
    }

    #[test]
    fn the_lease_ends_by_itself_from_receipt() {
        let mut heater = heater();
        heater.on_command(&command(1, 30.0), at(100.0));
        assert!((kw(&mut heater, 279.9) - 30.0).abs() < 0.02);
        assert_eq!(heater.cap(), RATED);
        heater.tick(at(280.0));
        assert_eq!(heater.cap(), Watts::from_kw(7.5));
        assert!((kw(&mut heater, 320.0) - 7.5).abs() < 0.02);
    }

    #[test]
    fn a_repetition_does_not_lengthen_the_lease_but_a_refresh_does() {
        let mut heater = heater();
        heater.on_command(&command(1, 30.0), at(0.0));
        heater.on_command(&command(1, 30.0), at(170.0));
        heater.tick(at(181.0));
        assert_eq!(heater.cap(), Watts::from_kw(7.5));
        heater.on_command(&command(2, 30.0), at(182.0));
        heater.on_command(&command(3, 30.0), at(350.0));
        heater.tick(at(500.0));
        assert_eq!(heater.cap(), RATED);
    }

    #[test]
    fn a_fallback_above_the_cap_is_reached_by_the_ramp() {
        let mut heater = heater();
        let up = Command { ttl_s: 100.0, ramp_w_per_s: 100.0, fallback_w: 20e3, ..command(1, 10.0) };
        heater.on_command(&up, at(0.0));
        heater.tick(at(150.0));
        // 10 kW until 100 s, then 100 W/s for 50 s.
        assert!((heater.cap().kw() - 15.0).abs() < 0.1, "{}", heater.cap());
    }

    #[test]
    fn the_ramp_is_kept() {
        let mut heater =
            HeaterLogic::new("r", HeaterOptions { delay: (2.0, 2.0), ..HeaterOptions::rated(RATED) }, at(0.0));
        heater.on_command(&Command { ramp_w_per_s: 100.0, ..command(1, 30.0) }, at(0.0));
        for second in 1..170 {
            let now = f64::from(second);
            heater.tick(at(now));
            let line = 7.5 + 0.1 * (now - 2.0).max(0.0);
            assert!(heater.cap().kw() <= line + 1e-6, "{now}: {} above {line}", heater.cap());
            assert!(heater.cap().kw() >= line - 0.1, "{now}: {} below {line}", heater.cap());
        }
    }

    #[test]
    fn a_short_lease_beats_a_slow_command() {
        let mut heater = heater();
        heater.on_command(&Command { ttl_s: 0.5, ..command(1, 30.0) }, at(0.0));
        assert!((kw(&mut heater, 100.0) - 7.5).abs() < 1e-6, "its lease had ended before it arrived");
    }

    #[test]
    fn too_few_jobs_show() {
        let mut heater = heater();
        heater.on_command(&command(1, 30.0), at(0.0));
        heater.set_jobs(0.2, at(1.0));
        assert!((kw(&mut heater, 170.0) - 12.0).abs() < 0.01);
        let told = heater.telemetry(Now { mono: at(170.0), utc: Utc::from_millis(0) });
        assert_eq!((told.jobs_w, told.applied_w), (12e3, 30e3));
        assert!((told.power_w - 12e3).abs() < 300.0);
    }

    #[test]
    fn numbers_look_like_an_instrument_s() {
        assert_eq!(rounded(24.1234, 0.1), 24.1);
        assert_eq!(rounded(7499.6, 1.0), 7500.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever is commanded and whenever: the cap stays in range, no more is drawn than it once was, and without a
        /// live lease it ends at the fallback.
        #[test]
        fn in_range_and_back_to_fallback(
            steps in proptest::collection::vec((0.0..400.0_f64, 0_u64..40, -50.0..90.0_f64, 0.1..300.0_f64, 0.0..500.0_f64), 1..40)
        ) {
            let (mut heater, mut now) = (heater(), 0.0);
            for (wait, seq, kw, ttl_s, ramp_w_per_s) in steps {
                now += wait;
                heater.on_command(&Command { ttl_s, ramp_w_per_s, ..command(seq, kw) }, at(now));
                prop_assert!(heater.cap() >= Watts::from_kw(7.5) && heater.cap() <= RATED);
                prop_assert!(heater.power() >= Watts::of(7499.9) && heater.power() <= Watts::of(30_000.1));
            }
            heater.tick(at(now + 1000.0));
            prop_assert_eq!(heater.cap(), Watts::from_kw(7.5));
        }
    }
}
