//! Durable state in one SQLite file: ledger, latches, slots.
