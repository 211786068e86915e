//! The single owner of the image: folds readings, arbitrates requests, ticks control and the ledger. Pure.
