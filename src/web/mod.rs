//! Health, metrics and the status page: a pure view of one image, and the server.
//!
//! ```text
//! Plant + Image + Decision ──view──► api types (JSON both ways) ──page──► HTML
//!                                        └──► the command line reads the same types over the local socket
//! ```
//!
//! Read-only: nothing here can write. Writing over HTTP would need a login, which this version does not have; a method
//! that would write is answered with 405 and says so.

pub mod api;
mod limit;
mod page;
mod routes;
pub mod server;
mod state;
pub mod view;

#[cfg(test)]
mod tests;

pub use routes::router;
pub use state::{Readiness, WebState};
