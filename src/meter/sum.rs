//! A zone's energy: the sum of totals that never decreases either, whichever heaters or meter the mapping gives the zone.

use super::total::Total;
use crate::durable::SavedCounter;
use crate::point::{Doubt, Fault, PointId, Reading, Value};
use crate::time::Utc;
use crate::units::Energy;

/// One sum over totals.
#[derive(Debug, Clone)]
pub(super) struct Sum {
    name: String,
    point: Option<PointId>,
    /// Places in the ledger's list of totals; those that joined a zone that has a memory add only what flows since.
    members: Vec<Member>,
    /// What the zone had that its members of now do not account for, Wh.
    offset: i128,
    /// The sum of the last checkpoint of an earlier life; `None`: it begins anew, as the plain sum.
    restored: Option<u64>,
    /// What was shown.
    total_wh: u64,
    epoch: u32,
    at: Utc,
    reading: Reading,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    total: usize,
    joins: bool,
}

fn wh(sum: i128) -> u64 {
    u64::try_from(sum.max(0)).unwrap_or(u64::MAX)
}

impl Sum {
    pub fn new(
        name: String,
        point: Option<PointId>,
        members: &[usize],
        totals: &[Total],
        saved: &[SavedCounter],
    ) -> Self {
        let find = |name: &str| saved.iter().find(|counter| counter.name == name);
        let own = find(&name);
        let known = |total: usize| totals.get(total).and_then(|total| find(total.name()));
        let mut offset = 0;
        if let Some(own) = own {
            let sum: i128 = members.iter().filter_map(|total| known(*total)).map(|c| i128::from(c.ceiling_wh)).sum();
            offset = i128::from(own.ceiling_wh) - sum;
        }
        let members = members
            .iter()
            .map(|total| Member { total: *total, joins: own.is_some() && known(*total).is_none() })
            .collect();
        Self {
            point,
            members,
            offset,
            restored: own.map(|own| own.ceiling_wh),
            total_wh: own.map_or(0, |own| own.total_wh),
            epoch: own.map_or(1, |own| own.epoch),
            at: own.map_or(Utc::default(), |own| own.at),
            reading: Reading::Bad(Fault::NeverRead),
            name,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub const fn begin(&mut self, epoch: u32) {
        if self.restored.is_none() {
            self.epoch = epoch;
        }
    }

    /// Where it is shown, and what.
    pub fn reading(&self) -> Option<(PointId, Reading)> {
        Some((self.point?, self.reading))
    }

    /// What an earlier life showed last, where that is certain: after a clean stop.
    pub fn remembered(&self) -> Option<(PointId, u64)> {
        Some((self.point?, self.restored.filter(|ceiling| *ceiling == self.total_wh)?))
    }

    /// Bad while a member has not answered; as doubtful as the most doubtful member.
    pub fn step(&mut self, at: Utc, totals: &[Total]) {
        self.at = at;
        let mut sum: i128 = 0;
        let mut doubt = None;
        let mut complete = !self.members.is_empty();
        for member in &mut self.members {
            let Some((total, shown)) = totals.get(member.total).and_then(|total| Some((total, total.shown()?))) else {
                complete = false;
                continue;
            };
            if member.joins {
                member.joins = false;
                self.offset -= i128::from(shown);
            }
            sum += i128::from(shown);
            doubt = match (doubt, total.reading()) {
                (Some(Doubt::Stale), _) => doubt,
                (_, Reading::Uncertain(_, new)) => Some(new),
                (old, _) => old,
            };
        }
        if !complete {
            return;
        }
        self.total_wh = wh(sum + self.offset);
        let value = Value::Energy(Energy::from_wh(self.total_wh));
        self.reading = doubt.map_or(Reading::Good(value), |doubt| Reading::Uncertain(value, doubt));
    }

    /// What a checkpoint holds of it, given what the same checkpoint holds of its members.
    pub fn saved(&self, totals: &[Total], counters: &[SavedCounter]) -> Option<SavedCounter> {
        let mut sum = self.offset;
        for member in self.members.iter().filter(|member| !member.joins) {
            let name = totals.get(member.total)?.name();
            match counters.iter().find(|counter| counter.name == name) {
                Some(counter) => sum += i128::from(counter.ceiling_wh),
                // Without a memory the sum begins when all have answered.
                None if self.restored.is_none() => return None,
                None => {}
            }
        }
        if self.members.is_empty() {
            sum = i128::from(self.restored?);
        }
        Some(SavedCounter {
            name: self.name.clone(),
            epoch: self.epoch,
            total_wh: self.total_wh,
            ceiling_wh: wh(sum),
            flowed_wh: self.total_wh,
            at: self.at,
            ..SavedCounter::default()
        })
    }
}
