//! The control law: one frozen image and the time in, one decision with reasons out. Pure.
