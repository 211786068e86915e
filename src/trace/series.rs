//! What a trace tells of a zone: the electrical power of its heaters and the heat at its meter, over time. For tuning.

use super::BadTrace;
use super::codec::{Decoder, Entry};
use super::header::Header;
use crate::engine::Event;
use crate::plant::{HeaterRole, MeterRole, Plant, Zone};
use crate::point::{PointId, Reading};
use crate::units::Unit;

/// Measurements of one zone. Times are seconds from the first entry.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// The zone's name.
    pub zone: String,
    /// Its heaters: name, rated power in kW, and efficiency as the mapping has it.
    pub heaters: Vec<(String, f64, f64)>,
    /// Electrical power of all heaters together, kW, at each change.
    pub power: Vec<(f64, f64)>,
    /// Heat at the meter, kW, at each reading.
    pub heat: Vec<(f64, f64)>,
}

/// What a trace's segments tell of each zone. Segments that follow a gap are read, too.
///
/// # Errors
///
/// When one cannot be read.
pub fn series(segments: &[String]) -> Result<Vec<Series>, BadTrace> {
    let first = segments.first().and_then(|text| text.lines().next()).unwrap_or_default();
    let header = Header::parse(first)?;
    let (plant, _) = header.plant()?;
    let mut zones: Vec<Reader<'_>> = plant.zones.iter().map(|zone| Reader::new(&plant, zone)).collect();
    let origin = header.start();
    let mut before = 0;
    for segment in segments {
        let lines: Vec<&str> = segment.lines().collect();
        let header = Header::parse(lines.first().copied().unwrap_or_default())?;
        let mut decoder = Decoder::new(header.start());
        for (line, text) in lines.iter().enumerate().skip(1) {
            if line + 1 == lines.len() && !segment.ends_with('\n') {
                break;
            }
            let entry = decoder.line(text).map_err(|why| BadTrace::Line { line: before + line + 1, why })?;
            if let Entry::Event(Event::Readings(updates), now) = entry {
                let t = now.mono.since(origin.mono).as_secs_f64();
                for zone in &mut zones {
                    zone.read(t, updates.iter().map(|update| (update.point, update.reading)));
                }
            }
        }
        before += lines.len();
    }
    Ok(zones.into_iter().map(|reader| reader.series).collect())
}

struct Reader<'a> {
    plant: &'a Plant,
    /// Power points with their last value, kW.
    power: Vec<(PointId, Option<f64>)>,
    heat: Option<PointId>,
    series: Series,
}

impl<'a> Reader<'a> {
    fn new(plant: &'a Plant, zone: &Zone) -> Self {
        let heaters = || zone.heaters.iter().filter_map(|id| plant.heater(*id));
        let meter = zone.meter.and_then(|id| plant.meter(id));
        Self {
            plant,
            power: heaters().filter_map(|heater| heater.points.get(HeaterRole::Power)).map(|p| (p, None)).collect(),
            heat: meter.and_then(|meter| meter.points.get(MeterRole::Power)),
            series: Series {
                zone: zone.name.clone(),
                heaters: heaters().map(|heater| (heater.name.clone(), heater.rated.kw(), heater.eta)).collect(),
                ..Series::default()
            },
        }
    }

    fn kw(&self, point: PointId, reading: Reading) -> Option<f64> {
        let Reading::Good(value) = reading else { return None };
        self.plant.point(point)?.unit.convert(value.as_f64(), Unit::Kilowatt)
    }

    fn read(&mut self, t: f64, updates: impl Iterator<Item = (PointId, Reading)>) {
        let mut changed = false;
        for (point, reading) in updates {
            let kw = self.kw(point, reading);
            if let Some(place) = self.power.iter_mut().find(|place| place.0 == point) {
                place.1 = kw;
                changed = true;
            }
            if self.heat == Some(point)
                && let Some(kw) = kw
            {
                self.series.heat.push((t, kw));
            }
        }
        if changed && let Some(sum) = self.power.iter().map(|place| place.1).sum::<Option<f64>>() {
            self.series.power.push((t, sum));
        }
    }
}
