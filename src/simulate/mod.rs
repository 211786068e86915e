//! The control loop against the plant model in simulated time: the real engine, no network, weeks in seconds.
//!
//! ```text
//!   scenario ─► case ─► run ─┬─ seat (the engine) ◄─readings, requests─ site, building
//!   (file)   (or drawn)      │        └── commands ─────────────────►  (heaters, water, room)
//!                            └─ reference: the attainable request and an oracle on a plant of its own
//!                                                                        ─► measures, moments
//! ```
//!
//! The same seed gives the same bytes, however many cores run it.

mod building;
mod draw;
mod fit;
mod html;
mod many;
mod measure;
mod plot;
mod reference;
mod run;
mod scenario;
mod seat;
mod site;
mod traces;

pub use fit::{Fit, NoFit, fit};
pub use html::{page, report};
pub use many::{Job, Study, Summary, Worst, study};
pub use measure::{Measures, Violation};
pub use plot::{Line, Plot, Style, escape};
pub use run::{Moment, Outcome};
pub use scenario::{BadScenario, Scenario, Variant, names};
pub use traces::{Rule, Tally, traces};
