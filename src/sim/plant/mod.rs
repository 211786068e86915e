//! The plant that is heated: power of the servers, heat in the water, the building. Pure: time is a step, noise has a
//! seed. Each step is the exact solution for inputs that are constant during it, so results do not depend on how a run
//! is cut into steps.

mod building;
mod heater;
mod hydronic;
mod lag;

pub use building::{Building, BuildingParams, Outdoor};
pub use heater::{HeaterModel, HeaterParams};
pub use hydronic::{HydronicModel, HydronicParams};
pub use lag::EnergyCounter;
