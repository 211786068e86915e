//! Energy that can be billed: counters with rollover, reset and replacement, the ledger, intervals. Pure.
