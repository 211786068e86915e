//! One run: the engine and the oracle, each on a plant of its own, through the same hours.

use std::sync::Arc;

use super::building::{BMS_PERIOD, Sky, Work, Zone};
use super::draw::{Case, RATED_KW};
use super::measure::{Measures, Tracking, Violation, Watch};
use super::reference::{Attainable, Bounds, NOMINAL_KW, Oracle, TICK};
use super::scenario::Forecast;
use super::seat::{MeterShows, Seat};
use super::site::Site;
use crate::plant::{Plant, ZoneRole};
use crate::sim::noise::Noise;
use crate::units::Watts;

/// Share of an electrical limit that may be used (CONTROL law, 4).
const MARGIN: f64 = 0.97;
/// The mapping's BMS timeout, s.
const BMS_TIMEOUT: u64 = 300;
/// What stands for "no limit" in the mapping, kW.
const NO_LIMIT: f64 = 6553.5;
/// What stands for "no forecast" in the mapping, s.
const NO_FORECAST: f64 = 65_535.0;
/// Time between two telemetry messages, s.
const TELEMETRY: u64 = 10;

/// One instant of a run, for plots; powers in kW.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// Seconds from the start.
    pub t: f64,
    /// Heat asked.
    pub asked: f64,
    /// Heat attainable.
    pub attainable: f64,
    /// Heat that comes.
    pub heat: f64,
    /// Heat of the oracle.
    pub oracle: f64,
    /// Electrical power.
    pub power: f64,
    /// Sum of the caps.
    pub cap: f64,
    /// Lowest and highest power allowed.
    pub bounds: (f64, f64),
    /// Room temperature and its setpoint, degC.
    pub room: Option<(f64, f64)>,
    /// Outdoors, degC.
    pub outdoor: f64,
    /// Supply water at the meter, degC.
    pub supply: f64,
    /// Where its ceiling begins, and where it allows nothing, degC.
    pub supply_limit: (f64, f64),
    /// Efficiency, believed and true.
    pub eta: (f64, f64),
}

/// What a run gave.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// How good it was.
    pub measures: Measures,
    /// For plots; empty where nobody asked for it.
    pub moments: Vec<Moment>,
    /// What happened, by time in seconds.
    pub events: Vec<(f64, String)>,
    /// The first violations, by time.
    pub wrong: Vec<Violation>,
}

/// What is watched of a run besides its measures.
#[derive(Clone, Copy)]
pub(super) struct Watching<'a> {
    /// Seconds between two moments; 0: none are kept.
    pub every: u64,
    /// Told of each hour that has passed.
    pub hour: &'a dyn Fn(),
}

/// When things happen next, s.
struct Due {
    telemetry: u64,
    meter: f64,
    bms: u64,
    oracle: u64,
}

struct Run<'a> {
    case: &'a Case,
    site: Site,
    seat: Seat,
    zone: Zone,
    attainable: Attainable,
    tracking: Tracking,
    oracle: Oracle,
    oracle_zone: Zone,
    oracle_attainable: Attainable,
    oracle_tracking: Tracking,
    sky: Sky,
    work: Work,
    watch: Watch,
    noise: Noise,
    due: Due,
    /// Readings of an old meter on their way, and the last that was shown.
    shown: Option<MeterShows>,
    old: std::collections::VecDeque<(f64, MeterShows)>,
    limit: Option<Watts>,
    last_write: u64,
    /// The cap when the BMS fell silent, and when its policy was entered.
    silent: Option<(Watts, Option<u64>)>,
    policy_after: u64,
    events: Vec<(f64, String)>,
    state: &'static str,
    /// Longest step of the plants while something moves, s.
    step: u64,
}

/// Runs longer than this, s,
const LONG: u64 = 4 * 86_400;
/// take steps of this, s; others of 1 s. Heaters are exact in any step, the water is within a thousandth.
const LONG_STEP: u64 = 10;

/// Run a case on a compiled plant.
pub(super) fn run(case: &Case, plant: &Arc<Plant>, watching: Watching<'_>) -> Outcome {
    let site = Site::new(case);
    let seat = Seat::new(Arc::clone(plant), case.start);
    let heat = site.water.heat();
    let phase = |period: u64| (case.phase * period as f64) as u64;
    let mut run = Run {
        case,
        watch: Watch::new(seat.cap()),
        site,
        seat,
        zone: Zone::new(case),
        attainable: Attainable::new(case, heat),
        tracking: Tracking::default(),
        oracle: Oracle::new(case),
        oracle_zone: Zone::new(case),
        oracle_attainable: Attainable::new(case, heat),
        oracle_tracking: Tracking::default(),
        sky: Sky::new(case),
        work: Work::new(case),
        noise: Noise::named(case.seed, "measurement"),
        due: Due { telemetry: phase(TELEMETRY), meter: case.phase * case.meter_every_s, bms: 0, oracle: 0 },
        shown: None,
        old: std::collections::VecDeque::new(),
        limit: None,
        last_write: 0,
        silent: None,
        policy_after: 0,
        events: Vec::new(),
        state: "",
        step: if case.seconds > LONG { LONG_STEP } else { 1 },
    };
    let mut moments = Vec::new();
    let mut t = 0;
    let mut next_moment = 0;
    while t < case.seconds {
        let jobs = run.happen(t);
        if watching.every > 0 && t >= next_moment {
            moments.push(run.moment(t, jobs));
            next_moment = t + watching.every;
        }
        let until = run.next(t).min(case.seconds);
        run.flow(t, until, jobs);
        (t / 3600..until / 3600).for_each(|_| (watching.hour)());
        t = until;
    }
    run.finish(moments)
}

impl Run<'_> {
    fn eta(&self, t: f64) -> f64 {
        (self.case.eta * (1.0 + self.case.eta_drift * t)).clamp(0.05, 1.5)
    }

    /// Everything that happens at `t`, in the order in which the gateway would hear of it; the share of jobs.
    fn happen(&mut self, t: u64) -> f64 {
        let now = t as f64;
        let jobs = self.work.at(now);
        self.links(now);
        if t >= self.due.telemetry {
            self.due.telemetry = t + TELEMETRY;
            let error = self.case.power_noise * self.noise.normal();
            self.seat.telemetry(t, jobs, error, &mut self.site);
        }
        if now >= self.due.meter {
            self.meter(t);
        }
        self.bms(t);
        if t >= self.seat.stepped + TICK {
            self.seat.tick(t, &mut self.site);
        }
        self.supervise(t);
        let (bounds, eta) = (self.bounds(jobs), self.eta(now));
        self.watch.look(now, self.seat.cap(), bounds.low, bounds.high);
        if t >= self.due.oracle {
            self.due.oracle = t + TICK;
            let power = self.oracle_attainable.power(self.oracle_zone.asked, eta, bounds);
            self.oracle.tick(power, bounds);
        }
        jobs
    }

    fn links(&mut self, now: f64) {
        let Some(cut) = &self.case.cut else { return };
        let is_cut = (cut.from..cut.to).contains(&now);
        if let Some(unit) = self.site.units.get_mut(cut.heater)
            && unit.cut != is_cut
        {
            unit.cut = is_cut;
            self.events.push((now, if is_cut { "a heater's link is cut" } else { "the link is back" }.to_owned()));
        }
    }

    fn meter(&mut self, t: u64) {
        let now = t as f64;
        self.due.meter += self.case.meter_every_s;
        let lost = self.case.meter_lost_from.is_some_and(|from| now >= from);
        let stuck = self.case.meter_stuck.is_some_and(|(from, to)| (from..to).contains(&now));
        let resolution = self.case.meter_resolution.get().max(1e-3);
        let measured = self.noise.measured(self.site.water.heat().get(), self.case.meter_noise);
        let heat = Watts::of((measured / resolution).round() * resolution);
        self.old.push_back((now, MeterShows { heat, energy_wh: self.site.water.energy().wh() }));
        // An old meter shows what was; the first sample of all has nothing before it.
        while self.old.front().is_some_and(|(at, _)| now - at >= self.case.meter_age_s) {
            let taken = self.old.pop_front().map(|(_, shows)| shows);
            if !stuck {
                self.shown = taken;
            }
        }
        let shows = self.shown.filter(|_| !lost);
        self.seat.meter(t, shows, &mut self.site);
    }

    fn bms(&mut self, t: u64) {
        let now = t as f64;
        let change = self.zone.next_change(now - 1.0) <= now;
        let limit = self.case.limits.iter().find(|(from, to, _)| (*from..*to).contains(&now)).map(|limit| limit.2);
        let relimited = limit != self.limit;
        if t < self.due.bms && !change && !relimited {
            return;
        }
        if t >= self.due.bms {
            self.due.bms = t + BMS_PERIOD;
        }
        self.zone.ask(now);
        self.oracle_zone.ask(now);
        if relimited {
            self.limit = limit;
            let text = limit.map_or_else(|| "the limit is lifted".to_owned(), |l| format!("limit {:.0} kW", l.kw()));
            self.events.push((now, text));
        }
        let lost = self.case.bms_lost.is_some_and(|(from, to)| (from..to).contains(&now));
        match (lost, self.silent.is_some()) {
            (true, false) => {
                self.silent = Some((self.seat.cap(), None));
                self.events.push((now, "the BMS falls silent".to_owned()));
            }
            (false, true) => {
                self.silent = None;
                self.events.push((now, "the BMS is back".to_owned()));
            }
            _ => {}
        }
        if lost {
            return;
        }
        self.last_write = t;
        let outdoor = self.sky.at(now).get();
        let mut values = vec![
            (ZoneRole::HeatRequestPower, self.zone.asked.kw()),
            (ZoneRole::OutdoorTemperature, (outdoor * 10.0).round() / 10.0),
        ];
        if t == 0 {
            values.splice(0..0, [(ZoneRole::DemandMode, 3.0), (ZoneRole::Enable, 1.0)]);
        }
        if relimited {
            values.push((ZoneRole::ElectricalLimit, self.limit.map_or(NO_LIMIT, Watts::kw)));
        }
        if let Some(forecast) = &self.case.forecast {
            values.extend(self.announced(now, forecast));
        }
        self.seat.write(t, &values, &mut self.site);
    }

    /// What a BMS that knows its steps says of the next one.
    fn announced(&self, now: f64, forecast: &Forecast) -> [(ZoneRole, f64); 2] {
        let next = self.zone.next_step(now).map(|(at, heat)| (at - now, heat));
        let (within, percent) = match next.filter(|(within, _)| *within <= forecast.ahead_s) {
            Some((within, heat)) => ((within + forecast.off_s).round().max(0.0), heat.kw() / NOMINAL_KW * 100.0),
            None => (NO_FORECAST, 0.0),
        };
        let percent = (percent * 10.0).round() / 10.0;
        [(ZoneRole::NextRequestPercent, percent), (ZoneRole::NextRequestIn, within)]
    }

    /// What must hold while the BMS is silent; and the zone's state, as an event.
    fn supervise(&mut self, t: u64) {
        let cap = self.seat.cap();
        let follows = self.seat.follows_bms();
        if let Some((before, entered)) = &mut self.silent {
            let silent = t - self.last_write;
            if entered.is_none() && (!follows || silent > BMS_TIMEOUT + TICK) {
                *entered = Some(t);
                self.policy_after = silent;
                if silent > BMS_TIMEOUT + TICK {
                    let text = format!("{silent} s after the last write, {} s are allowed", BMS_TIMEOUT + TICK);
                    self.watch.found(t as f64, "late policy", text);
                }
            }
            // What the ramp was still bringing when it fell silent was asked for.
            if entered.is_none() {
                *before = before.max(cap);
            } else if cap > *before + Watts::of(1.0) {
                let text = format!("caps of {:.3} kW, and {:.3} kW before", cap.kw(), before.kw());
                self.watch.found(t as f64, "raised without a BMS", text);
            }
        }
        let state = self.seat.state();
        if state != self.state {
            self.state = state;
            if self.events.len() < 400 {
                self.events.push((t as f64, state.to_owned()));
            }
        }
    }

    fn bounds(&self, jobs: f64) -> Bounds {
        let mut bounds = Bounds { idle: Watts::ZERO, low: Watts::ZERO, high: Watts::ZERO, jobs: Watts::ZERO };
        for unit in &self.site.units {
            // A heater that nobody can reach does what it does.
            let (low, high) = if unit.cut { (unit.power(), unit.power()) } else { (unit.idle(), unit.rated()) };
            bounds.idle += low;
            bounds.low += low;
            bounds.high += high;
            bounds.jobs += high.min(unit.jobs_power(jobs));
        }
        if let Some(limit) = self.limit {
            bounds.high = bounds.high.min(limit * MARGIN);
        }
        bounds.low = bounds.low.min(bounds.high);
        bounds
    }

    /// When something happens next.
    fn next(&self, t: u64) -> u64 {
        let now = t as f64;
        let mut changes = self.zone.next_change(now).min(self.work.next_change(now)).min(self.due.meter.max(now + 1.0));
        for (from, to, _) in &self.case.limits {
            changes = [*from, *to].into_iter().filter(|at| *at > now).fold(changes, f64::min);
        }
        // Whole seconds, as the gateway ticks.
        let changes = if changes.is_finite() { changes.ceil() as u64 } else { u64::MAX };
        [self.due.telemetry, self.due.bms, self.due.oracle, self.seat.stepped + TICK]
            .into_iter()
            .fold(changes, u64::min)
            .max(t + 1)
    }

    /// Let the plants run from `t` to `until`.
    fn flow(&mut self, t: u64, until: u64, jobs: f64) {
        let bounds = self.bounds(jobs);
        let mut at = t;
        while at < until {
            let quiet = self.site.settled(jobs) && self.oracle.settled(jobs);
            let to = if quiet { until } else { until.min(at + self.step) };
            let (now, dt) = (at as f64, (to - at) as f64);
            let eta = self.eta(now);
            let outdoor = self.sky.at(now);
            if self.case.eta_drift != 0.0 {
                self.site.water.set_efficiency(eta);
                self.oracle.water.set_efficiency(eta);
            }
            let asked = match self.silent {
                // A lost BMS asks through its policy.
                Some((_, Some(_))) => self.seat.asked(),
                _ => self.zone.asked,
            };
            let power = self.attainable.power(asked, eta, bounds);
            self.attainable.step(power, bounds, eta, dt);
            self.site.step(dt, jobs);
            let heat = self.site.water.heat();
            self.tracking.add(now + dt, dt, heat.kw(), self.attainable.heat().kw());
            self.zone.heat(now, dt, heat, outdoor);

            let power = self.oracle_attainable.power(self.oracle_zone.asked, eta, bounds);
            self.oracle_attainable.step(power, bounds, eta, dt);
            self.oracle.step(dt, jobs);
            let heat = self.oracle.water.heat();
            self.oracle_tracking.add(now + dt, dt, heat.kw(), self.oracle_attainable.heat().kw());
            self.oracle_zone.heat(now, dt, heat, outdoor);
            at = to;
        }
    }

    fn moment(&mut self, t: u64, jobs: f64) -> Moment {
        let now = t as f64;
        let bounds = self.bounds(jobs);
        Moment {
            t: now,
            asked: self.zone.asked.kw(),
            attainable: self.attainable.heat().kw(),
            heat: self.site.water.heat().kw(),
            oracle: self.oracle.water.heat().kw(),
            power: self.site.power().kw(),
            cap: self.seat.cap().kw(),
            bounds: (bounds.low.kw(), bounds.high.min(Watts::from_kw(RATED_KW)).kw()),
            room: self.zone.setpoint(now).map(|setpoint| (self.zone.room.air().get(), setpoint)),
            outdoor: self.sky.at(now).get(),
            supply: Seat::supply(self.site.water.heat()),
            supply_limit: self.seat.supply_limit(),
            eta: (self.seat.eta(), self.eta(now)),
        }
    }

    fn finish(mut self, moments: Vec<Moment>) -> Outcome {
        let hours = self.case.seconds as f64 / 3600.0;
        let wrong = self.watch.take();
        let (ours, oracle) = (self.tracking.rmse_pct(), self.oracle_tracking.rmse_pct());
        let measures = Measures {
            rmse_pct: ours,
            oracle_rmse_pct: oracle,
            ratio: if oracle > 0.0 { ours / oracle } else { 0.0 },
            energy_error_pct: self.tracking.balance_pct().abs(),
            oracle_energy_error_pct: self.oracle_tracking.balance_pct().abs(),
            excess_pct: self.tracking.excess_pct(),
            oracle_excess_pct: self.oracle_tracking.excess_pct(),
            changes_per_hour: self.seat.changes as f64 / hours,
            commands_per_hour: self.seat.commands as f64 / hours,
            under_kh: self.zone.under_kh,
            over_kh: self.zone.over_kh,
            oracle_under_kh: self.oracle_zone.under_kh,
            oracle_over_kh: self.oracle_zone.over_kh,
            violations: wrong.count as f64,
            eta_error: self.seat.eta() - self.eta(self.case.seconds as f64),
            attainable_kwh: self.tracking.attainable_kwh(),
            heat_kwh: self.tracking.heat_kwh(),
            policy_after_s: self.policy_after as f64,
        };
        Outcome { measures, moments, events: self.events, wrong: wrong.first }
    }
}
