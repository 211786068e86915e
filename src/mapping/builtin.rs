//! The mapping files that are shipped inside the program.

/// Every built-in file by its name.
pub const BUILTIN: &[(&str, &str)] = &[
    ("digital-boiler.toml", include_str!("../../mappings/digital-boiler.toml")),
    ("demo.toml", include_str!("../../mappings/demo.toml")),
    ("example-site.toml", include_str!("../../mappings/example-site.toml")),
    ("profiles/carlo-gavazzi-em340.toml", include_str!("../../mappings/profiles/carlo-gavazzi-em340.toml")),
    ("profiles/diehl-sharky-775.toml", include_str!("../../mappings/profiles/diehl-sharky-775.toml")),
    ("profiles/eastron-sdm72.toml", include_str!("../../mappings/profiles/eastron-sdm72.toml")),
    ("profiles/generic-heat-meter.toml", include_str!("../../mappings/profiles/generic-heat-meter.toml")),
    ("profiles/generic-plc.toml", include_str!("../../mappings/profiles/generic-plc.toml")),
    ("profiles/kamstrup-multical-403.toml", include_str!("../../mappings/profiles/kamstrup-multical-403.toml")),
    ("profiles/kamstrup-multical-603.toml", include_str!("../../mappings/profiles/kamstrup-multical-603.toml")),
    ("profiles/remeha-boiler.toml", include_str!("../../mappings/profiles/remeha-boiler.toml")),
    ("profiles/schneider-iem3000.toml", include_str!("../../mappings/profiles/schneider-iem3000.toml")),
];

/// The text of a built-in file.
pub fn builtin(name: &str) -> Option<&'static str> {
    BUILTIN.iter().find(|file| file.0 == name).map(|file| file.1)
}
