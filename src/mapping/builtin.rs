//! The mapping files that are shipped inside the program.

/// Every built-in file by its name.
pub const BUILTIN: &[(&str, &str)] = &[
    ("digital-boiler.toml", include_str!("../../mappings/digital-boiler.toml")),
    ("demo.toml", include_str!("../../mappings/demo.toml")),
    ("example-site.toml", include_str!("../../mappings/example-site.toml")),
    ("profiles/generic-heat-meter.toml", include_str!("../../mappings/profiles/generic-heat-meter.toml")),
];

/// The text of a built-in file.
pub fn builtin(name: &str) -> Option<&'static str> {
    BUILTIN.iter().find(|file| file.0 == name).map(|file| file.1)
}
