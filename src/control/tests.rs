//! The controller over a small plant: four heaters of 20, 20, 10 and 10 kW, believed efficiency 0.95, one zone.

mod anchors;
mod bench;
mod forecast;
mod learning;
mod losses;
mod random;
mod zones;
