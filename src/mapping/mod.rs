//! Mapping files to the compiled plant: as written (serde, unknown keys denied), checked, compiled. Pure over file contents.
