//! What makes an object report events by itself, and which class of recipients hears of it.

use std::time::Duration;

/// How an object reports events (ASHRAE 135, clause 13.2): intrinsic reporting.
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmFace {
    /// Instance of its notification class.
    pub class: u32,
    /// What is not normal.
    pub condition: Condition,
    /// How long that must last; whole seconds.
    pub delay: Duration,
    /// How long it must be over; whole seconds.
    pub delay_normal: Duration,
    /// It is told as an event, not as an alarm (Notify_Type).
    pub event: bool,
}

/// What is not normal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Condition {
    /// A bool that is this.
    State(bool),
    /// A number beyond a limit, in the unit of the face; back within only by more than the deadband.
    Limits {
        /// Above this; `None`: not watched.
        high: Option<f64>,
        /// Below this; `None`: not watched.
        low: Option<f64>,
        /// 0 or more.
        deadband: f64,
    },
}

/// What a notification class does by itself before a client writes to it (clause 12.21): to-offnormal, to-fault,
/// to-normal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassDefaults {
    /// 0 is the gravest, 255 the least; below 64 is for life safety (clause 13.2.5.3).
    pub priority: [u8; 3],
    /// A person must acknowledge it.
    pub ack_required: [bool; 3],
}

impl Default for ClassDefaults {
    /// Critical equipment, urgent, normal; what goes wrong is acknowledged, that it is over is not.
    fn default() -> Self {
        Self { priority: [127, 191, 255], ack_required: [true, true, false] }
    }
}
