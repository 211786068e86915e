//! The epoch of the ledger, in a small file beside the state: it survives the loss of the state and so can tell it.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use super::{StoreError, at};

const FILE: &str = "heatgate.epoch";

/// The epoch written there; `None` where there never was a state, or the file cannot be read.
pub(super) fn read(dir: &Path) -> Option<u32> {
    std::fs::read_to_string(dir.join(FILE)).ok()?.trim().parse().ok().filter(|epoch| *epoch > 0)
}

/// Replace it, all or nothing.
pub(super) fn write(dir: &Path, epoch: u32) -> Result<(), StoreError> {
    let (path, new) = (dir.join(FILE), dir.join("heatgate.epoch.new"));
    let written = File::create(&new).and_then(|mut file| {
        writeln!(file, "{epoch}")?;
        file.sync_all()
    });
    written.map_err(at(&new))?;
    std::fs::rename(&new, &path).map_err(at(&path))?;
    // The rename itself is durable once the directory is.
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))
}
