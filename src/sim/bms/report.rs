//! What a simulated BMS can say of its day: what it asked, what it was given, by its own reading.

use std::time::Duration;

use super::both::Compared;
use super::programme::Ask;
use super::view::BoilerView;
use crate::time::Mono;
use crate::units::{Energy, Percent, Watts};

/// What was asked and read so far.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BmsReport {
    /// Whether the gateway answers.
    pub connected: bool,
    /// The request that was last accepted.
    pub asked: Option<Percent>,
    /// Heat asked since the first accepted request, Wh. A request stands until the next one.
    pub asked_wh: f64,
    /// Heat delivered since the first reading, Wh, summed up from readings of `heat_delivered`.
    pub delivered_wh: f64,
    /// Site time over which `delivered_wh` was summed up.
    pub delivered_over: Duration,
    /// Heat by the energy register: the last reading less the first.
    pub metered_heat: Option<Energy>,
    /// Electrical energy, likewise.
    pub metered_electrical: Option<Energy>,
    /// The newest reading.
    pub view: Option<BoilerView>,
    /// Writes of the request that were accepted.
    pub writes: u64,
    /// Block reads.
    pub reads: u64,
    /// Transactions that the gateway refused.
    pub refused: u64,
    /// The last refusal.
    pub refusal: Option<String>,
    /// Connections made.
    pub connects: u64,
    /// Connections lost, or not made.
    pub losses: u64,
    /// How readings over two protocols compare; none where there is one.
    pub compared: Option<Compared>,
}

/// Two readings further apart are not joined: what was delivered between them is not known.
const LONGEST_GAP: Duration = Duration::from_secs(120);

/// Keeps the report.
#[derive(Debug)]
pub(super) struct Tally {
    nominal: Watts,
    report: BmsReport,
    asked_at: Option<Mono>,
    delivered: Option<(Mono, Watts)>,
    first_heat: Option<Energy>,
    first_electrical: Option<Energy>,
}

impl Tally {
    /// For a zone whose 100 % is this heat.
    pub(super) fn new(nominal: Watts) -> Self {
        Self {
            nominal,
            report: BmsReport::default(),
            asked_at: None,
            delivered: None,
            first_heat: None,
            first_electrical: None,
        }
    }

    pub(super) fn connected(&mut self) {
        self.report.connected = true;
        self.report.connects += 1;
    }

    pub(super) fn lost(&mut self) {
        self.report.connected = false;
        self.report.losses += 1;
    }

    pub(super) fn refused(&mut self, why: String) {
        self.report.refused += 1;
        self.report.refusal = Some(why);
    }

    pub(super) fn accepted(&mut self, ask: Ask, now: Mono) {
        self.run_to(now);
        self.asked_at = Some(now);
        self.report.asked = Some(ask.heat);
        self.report.writes += 1;
    }

    pub(super) fn read(&mut self, view: BoilerView, now: Mono) {
        self.report.reads += 1;
        if let (Some((then, before)), Some(heat)) = (self.delivered, view.heat_delivered) {
            let over = now.since(then);
            if over <= LONGEST_GAP {
                self.report.delivered_wh += (before + heat).get() / 2.0 * over.as_secs_f64() / 3600.0;
                self.report.delivered_over += over;
            }
        }
        self.delivered = view.heat_delivered.map(|heat| (now, heat));
        self.report.metered_heat = since(&mut self.first_heat, view.heat_energy).or(self.report.metered_heat);
        self.report.metered_electrical =
            since(&mut self.first_electrical, view.electrical_energy).or(self.report.metered_electrical);
        self.report.view = Some(view);
    }

    pub(super) fn compared(&mut self, compared: Option<&Compared>) {
        self.report.compared = compared.cloned();
    }

    /// The report as of now.
    pub(super) fn report(&mut self, now: Mono) -> BmsReport {
        self.run_to(now);
        self.report.clone()
    }

    fn run_to(&mut self, now: Mono) {
        if let (Some(then), Some(asked)) = (self.asked_at, self.report.asked) {
            let heat = self.nominal * (asked.get() / 100.0);
            self.report.asked_wh += heat.get() * now.since(then).as_secs_f64() / 3600.0;
            self.asked_at = Some(now);
        }
    }
}

fn since(first: &mut Option<Energy>, read: Option<Energy>) -> Option<Energy> {
    let read = read?;
    read.checked_sub(*first.get_or_insert(read))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Mono {
        Mono::from_start(Duration::from_secs(secs))
    }

    fn ask(percent: f64) -> Ask {
        Ask { heat: Percent::of(percent), ..Ask::default() }
    }

    fn view(kw: f64, wh: u64) -> BoilerView {
        BoilerView {
            heat_delivered: Some(Watts::from_kw(kw)),
            heat_energy: Some(Energy::from_wh(wh)),
            ..BoilerView::default()
        }
    }

    #[test]
    fn a_request_stands_until_the_next_one() {
        let mut tally = Tally::new(Watts::from_kw(57.0));
        assert_eq!(tally.report(at(1000)).asked_wh, 0.0);
        tally.accepted(ask(50.0), at(1000));
        tally.accepted(ask(50.0), at(1030));
        tally.accepted(ask(100.0), at(1000 + 1800));
        let report = tally.report(at(1000 + 3600));
        assert!((report.asked_wh - (14_250.0 + 28_500.0)).abs() < 1e-6);
        assert_eq!((report.writes, report.asked), (3, Some(Percent::of(100.0))));
    }

    #[test]
    fn readings_are_summed_up_but_gaps_are_not() {
        let mut tally = Tally::new(Watts::from_kw(57.0));
        tally.read(view(10.0, 5000), at(0));
        tally.read(view(20.0, 5100), at(60));
        // An hour without an answer.
        tally.read(view(20.0, 25_000), at(3660));
        tally.read(BoilerView::default(), at(3690));
        tally.read(view(20.0, 25_300), at(3720));
        let report = tally.report(at(3720));
        assert!((report.delivered_wh - 250.0).abs() < 1e-9, "{}", report.delivered_wh);
        assert_eq!(report.delivered_over, Duration::from_secs(60));
        assert_eq!(report.metered_heat, Some(Energy::from_wh(20_300)));
        assert_eq!(report.metered_electrical, None);
        assert_eq!(report.reads, 5);
    }
}
