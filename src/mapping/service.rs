//! What a trend log and a load control say besides instance, name and point.

use crate::plant::ShedLevel;
use crate::written::{At, Findings, Place, Table};

/// Records of a trend log where the mapping names no number: three days of minutes.
const RECORDS: u32 = 4_320;
/// Fewest and most records: a record takes 16 octets, in memory and on disk.
const RECORDS_RANGE: (u32, u32) = (10, 20_000);
/// What a load control leaves of the rated power at its levels where the mapping names nothing, percent.
const LEVELS: &[f64] = &[75.0, 50.0, 25.0, 0.0];
/// Most levels.
const MOST_LEVELS: usize = 16;

/// The fields of both, as written.
#[derive(Debug, Default)]
pub(super) struct ServiceParts {
    records: Option<At<u32>>,
    levels: Option<At<Vec<At<f64>>>>,
}

impl ServiceParts {
    /// Of a `[[trend_log]]`.
    pub(super) fn of_log(table: &mut Table<'_>, f: &mut Findings) -> Self {
        Self { records: table.opt("records", f), ..Self::default() }
    }

    /// Of a `[[load_control]]`.
    pub(super) fn of_load(table: &mut Table<'_>, f: &mut Findings) -> Self {
        Self { levels: table.opt("levels", f), ..Self::default() }
    }

    /// Buffer_Size.
    pub(super) fn records(&self, f: &mut Findings) -> u32 {
        let Some(At { value, place }) = &self.records else { return RECORDS };
        let (least, most) = RECORDS_RANGE;
        if !(least..=most).contains(value) {
            let help = format!("from {least} to {most}; the oldest records are overwritten");
            f.error("out-of-range", place, format!("a trend log cannot hold {value} records"), help);
        }
        *value
    }

    /// Shed_Levels from 1, with their descriptions.
    pub(super) fn levels(&self, f: &mut Findings) -> Vec<ShedLevel> {
        let percents = match &self.levels {
            Some(At { value, place }) => {
                let percents: Vec<f64> = value.iter().map(|at| at.value).collect();
                check(&percents, place, f);
                percents
            }
            None => LEVELS.to_vec(),
        };
        let level = |(number, percent): (u32, f64)| ShedLevel {
            number,
            percent,
            text: format!("at most {percent} % of the rated power"),
        };
        (1..).zip(percents).map(level).collect()
    }
}

fn check(percents: &[f64], place: &Place, f: &mut Findings) {
    let help = "write what may still be drawn at each level, percent of the rated power, ever less: [75, 50, 25, 0]";
    if percents.is_empty() || percents.len() > MOST_LEVELS {
        f.error("out-of-range", place, format!("a load control has 1 to {MOST_LEVELS} levels"), help);
    }
    let shares = percents.iter().all(|percent| (0.0..100.0).contains(percent));
    if !shares || !percents.is_sorted_by(|a, b| a > b) {
        f.error("out-of-range", place, "the levels of a load control go down, from below 100 to 0 at least", help);
    }
}
