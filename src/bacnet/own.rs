//! What the device holds of its own and a BACnet client may write: not points, so the engine knows nothing of it.

use std::collections::HashMap;

/// A checked write to something of the device's own: it cannot fail any more.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    /// COV_Increment of a face, by its place in the plant, in its unit.
    Increment {
        /// Place of the face.
        face: usize,
        /// 0 or more.
        step: f64,
    },
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Own {
    increments: HashMap<usize, f64>,
}

impl Own {
    /// COV_Increment of a face where it was written.
    pub(super) fn increment(&self, face: usize) -> Option<f64> {
        // Most devices never have one written.
        if self.increments.is_empty() { None } else { self.increments.get(&face).copied() }
    }

    /// Do it.
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Increment { face, step } => drop(self.increments.insert(face, step)),
        }
    }
}
