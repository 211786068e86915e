//! Configuration and mapping from the disk: what `run`, `demo` and `check` start with. Nothing here touches a network.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::config::{self, Config};
use crate::diagnostic::{Diagnostic, Severity, SourceFile};
use crate::mapping::{self, BuiltinFiles, Compiled, Files};
use crate::plant::{Device, Link, ModbusLine, Plant};

/// Files beside a site's mapping.
struct Beside {
    directory: PathBuf,
}

impl Files for Beside {
    fn read(&self, name: &str) -> Result<String, String> {
        std::fs::read_to_string(self.directory.join(name)).map_err(|why| why.to_string())
    }

    fn is_there(&self, name: &str) -> bool {
        // Of a link that leads nowhere, too: its owner meant it.
        self.directory.join(name).symlink_metadata().is_ok()
    }

    fn shown(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }
}

/// Everything that was found out about a configuration, whether or not it can be used.
pub(super) struct Examined {
    pub config: Option<Config>,
    pub plant: Option<Plant>,
    /// Worked examples that were evaluated.
    pub examples: usize,
    /// The files that the mapping took, by name and text, its root first; for the trace, which holds what it was recorded
    /// with.
    pub files: Vec<(String, String)>,
    pub findings: Vec<Diagnostic>,
    /// The configuration file itself cannot be read: nothing was examined.
    pub unreadable: bool,
}

/// Load the settings from a file, or those of the demonstration, and the mapping that they name; with the warnings, or
/// else with everything that was found. The process environment comes on top of the file; relative paths of the settings
/// start at the file, and those returned are resolved.
pub fn load(config_path: Option<&Path>) -> Result<(Config, Plant, Vec<Diagnostic>), Vec<Diagnostic>> {
    let loaded = examine(config_path, &environment()).loaded()?;
    Ok((loaded.config, loaded.plant, loaded.warnings))
}

/// What something can start with.
pub(super) struct Loaded {
    pub config: Config,
    pub plant: Plant,
    pub warnings: Vec<Diagnostic>,
    /// See [`Examined::files`].
    pub files: Vec<(String, String)>,
}

impl Examined {
    /// It, when it can be used, or else everything that was found.
    pub(super) fn loaded(self) -> Result<Loaded, Vec<Diagnostic>> {
        match (self.config, self.plant) {
            (Some(config), Some(plant)) => Ok(Loaded { config, plant, warnings: self.findings, files: self.files }),
            _ => Err(self.findings),
        }
    }
}

/// The environment, as far as it is text.
pub(super) fn environment() -> Vec<(String, String)> {
    std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok())).collect()
}

/// The same, for whoever wants to know about both halves.
pub(super) fn examine(config_path: Option<&Path>, env: &[(String, String)]) -> Examined {
    let mut examined =
        Examined { config: None, plant: None, examples: 0, files: Vec::new(), findings: Vec::new(), unreadable: false };
    let file = match config_path.map_or_else(|| Ok(config::builtin_demo()), read) {
        Ok(file) => file,
        Err(finding) => {
            examined.findings.push(finding);
            examined.unreadable = true;
            return examined;
        }
    };
    let directory = config_path.and_then(Path::parent).map(Path::to_path_buf).unwrap_or_default();
    let mapping = match config::load(Some(&file), env) {
        Ok((mut config, warnings)) => {
            examined.findings.extend(warnings);
            let mapping = config.mapping.clone();
            if config_path.is_some() {
                config.mapping = directory.join(&config.mapping);
                config.state_dir = directory.join(&config.state_dir);
                config.bacnet.password_file = config.bacnet.password_file.map(|path| directory.join(path));
                if let Some(port) = &mut config.bacnet.secure {
                    for file in [&mut port.files.certificate, &mut port.files.key, &mut port.files.authorities] {
                        *file = directory.join(&*file);
                    }
                }
                config.mqtt.password_file = config.mqtt.password_file.map(|path| directory.join(path));
                if let Some(files) = &mut config.modbus.client {
                    for file in [&mut files.certificate, &mut files.key, &mut files.authorities] {
                        *file = directory.join(&*file);
                    }
                }
                for listener in &mut config.modbus.listeners {
                    if let config::Wire::Tls { certificate, key, authorities, .. } = &mut listener.wire {
                        for file in [certificate, key, authorities] {
                            *file = directory.join(&*file);
                        }
                    }
                }
            }
            examined.config = Some(config);
            Some(mapping)
        }
        Err(findings) => {
            examined.findings.extend(findings);
            // The mapping can be looked at all the same where it is known.
            config::mapping_of(&file, env).map(PathBuf::from)
        }
    };
    let Some(mapping) = mapping else { return examined };
    let (compiled, files) = compile(config_path.is_some().then_some(&directory), &mapping);
    examined.files = files;
    examined.plant = compiled.plant;
    examined.examples = compiled.examples;
    examined.findings.extend(compiled.findings);
    if let (Some(config), Some(plant)) = (&examined.config, &examined.plant) {
        let zones: Vec<&str> = plant.zones.iter().map(|zone| zone.name.as_str()).collect();
        let mut unknown = config::unknown_zones(config, &zones);
        unknown.extend(without_certificate(config, plant));
        if !unknown.is_empty() {
            examined.findings.extend(unknown);
            examined.plant = None;
        }
    }
    examined
}

/// Devices that speak TLS, while there is nothing to show them.
fn without_certificate(config: &Config, plant: &Plant) -> Vec<Diagnostic> {
    let secured = |device: &&Device| matches!(device.link, Link::Modbus { line: ModbusLine::Tls { .. }, .. });
    let devices = plant.devices.iter().filter(secured).filter(|_| config.modbus.client.is_none());
    devices
        .map(|device| Diagnostic {
            code: "missing-key",
            severity: Severity::Error,
            place: None,
            message: format!(
                "device `{}` is reached by modbus-tls://, and there is no certificate for it",
                device.name
            ),
            help: "[modbus.client] in the configuration: certificate, key, authorities".to_owned(),
        })
        .collect()
}

fn read(path: &Path) -> Result<Arc<SourceFile>, Diagnostic> {
    let name = path.display().to_string();
    std::fs::read_to_string(path).map(|text| SourceFile::new(name.as_str(), text)).map_err(|why| Diagnostic {
        code: "unreadable",
        severity: Severity::Error,
        place: None,
        message: format!("{name} cannot be read: {why}"),
        help: "name the configuration file with -c".to_owned(),
    })
}

/// The mapping on the disk, or, for the built-in demonstration, the built-in one of that name; and the files that it took.
fn compile(directory: Option<&PathBuf>, mapping: &Path) -> (Compiled, Vec<(String, String)>) {
    let root = mapping.file_name().unwrap_or_default().to_string_lossy();
    let files: Box<dyn Files> = match directory {
        Some(directory) => {
            let path = directory.join(mapping);
            Box::new(Beside { directory: path.parent().map(Path::to_path_buf).unwrap_or_default() })
        }
        None => Box::new(BuiltinFiles),
    };
    let taken = Taken { files, list: Mutex::default() };
    let compiled = mapping::compile(&root, &taken);
    (compiled, taken.list.into_inner().unwrap_or_default())
}

/// Notes what is read.
struct Taken {
    files: Box<dyn Files>,
    list: Mutex<Vec<(String, String)>>,
}

impl Files for Taken {
    fn read(&self, name: &str) -> Result<String, String> {
        let read = self.files.read(name);
        let builtin = || mapping::builtin(name).filter(|_| !self.files.is_there(name));
        let text = read.as_deref().ok().or_else(builtin);
        if let (Some(text), Ok(mut list)) = (text, self.list.lock()) {
            list.push((name.to_owned(), text.to_owned()));
        }
        read
    }

    fn is_there(&self, name: &str) -> bool {
        self.files.is_there(name)
    }

    fn shown(&self, name: &str) -> String {
        self.files.shown(name)
    }
}

/// The built-in demonstration with settings of this run in place of the process environment.
pub(super) fn demo(settings: &[(String, String)]) -> Result<Loaded, Vec<Diagnostic>> {
    examine(None, settings).loaded()
}

/// The state directory that a configuration file names, whatever else is wrong with it.
pub(super) fn state_dir(config_path: &Path) -> Option<PathBuf> {
    examine(Some(config_path), &environment()).config.map(|config| config.state_dir)
}
