//! Layers: defaults, then the file, then the environment. The file is read with places first, so that its mistakes have
//! a line; the overlay is the `config` crate's.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use config::{Map, Source, Value};

use super::keys::{KEYS, Key, PREFIX, SECTIONS, SEPARATOR, Shape};
use super::listener::{Access, Listener};
use crate::diagnostic::{Diagnostic, Severity, SourceFile};
use crate::written::{Document, Findings, Place, Read, Table, did_you_mean};

/// All settings, laid over one another.
pub struct Layers {
    merged: config::Config,
    places: BTreeMap<String, Place>,
    variables: BTreeMap<String, String>,
    file: Option<Place>,
    /// What only a file can say of the Modbus server: lists.
    pub access: Access,
    pub listeners: Vec<Listener>,
}

/// What a file says, as a layer.
#[derive(Debug, Clone, Default)]
struct Written(Map<String, Value>);

impl Source for Written {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

impl Layers {
    /// Lay them over one another; what is wrong in itself is found and left out.
    pub fn new(file: Option<&Arc<SourceFile>>, env: &[(String, String)], f: &mut Findings) -> Self {
        let mut written = Written::default();
        let mut places = BTreeMap::new();
        let (access, listeners) = file.map(|file| read_file(file, &mut written, &mut places, f)).unwrap_or_default();
        let variables = read_environment(env, f);
        let defaults = KEYS.iter().filter_map(|key| Some((key.path(), Value::from(key.default?))));
        let source: HashMap<String, String> = variables.values().cloned().zip(values(env, &variables)).collect();
        let merged = config::Config::builder()
            .add_source(Written(defaults.collect()))
            .add_source(written)
            .add_source(
                config::Environment::with_prefix(PREFIX)
                    .prefix_separator(SEPARATOR)
                    .separator(SEPARATOR)
                    .source(Some(source)),
            )
            .build()
            .unwrap_or_else(|why| {
                f.push(nowhere(
                    "syntax",
                    format!("the settings do not fit together: {why}"),
                    "see config/gateway.toml",
                ));
                config::Config::default()
            });
        let file = file.map(|file| Place { file: Arc::clone(file), span: 0..0 });
        Self { merged, places, variables, file, access, listeners }
    }

    /// A text; `None` where nobody says.
    pub fn text(&self, path: &str) -> Option<String> {
        self.merged.get_string(path).ok()
    }

    /// Texts; none where nobody says.
    pub fn texts(&self, path: &str) -> Vec<String> {
        let all = self.text(path).unwrap_or_default();
        all.split(',').map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect()
    }

    /// A number; `None` where nobody says, or what was said was found to be wrong.
    pub fn whole<T: TryFrom<i64>>(&self, path: &str) -> Option<T> {
        T::try_from(self.merged.get_int(path).ok()?).ok()
    }

    /// Yes or no.
    pub fn flag(&self, path: &str) -> bool {
        self.merged.get_bool(path).unwrap_or(false)
    }

    /// Report a setting that cannot be used, at the place where it was said.
    pub fn wrong(&self, code: &'static str, path: &str, message: &str, help: &str, f: &mut Findings) {
        self.report(Severity::Error, code, path, message, help, f);
    }

    /// Report a setting that can be used, and will disappoint.
    pub fn doubtful(&self, code: &'static str, path: &str, message: &str, help: &str, f: &mut Findings) {
        self.report(Severity::Warning, code, path, message, help, f);
    }

    fn report(&self, severity: Severity, code: &'static str, path: &str, message: &str, help: &str, f: &mut Findings) {
        let (place, message) = match (self.variables.get(path), self.places.get(path).or(self.file.as_ref())) {
            (Some(variable), _) => (None, format!("{variable}: {message}")),
            (None, Some(place)) => (Some((Arc::clone(&place.file), place.span.clone())), message.to_owned()),
            (None, None) => (None, format!("{path}: {message}")),
        };
        f.push(Diagnostic { code, severity, place, message, help: help.to_owned() });
    }
}

fn nowhere(code: &'static str, message: String, help: &str) -> Diagnostic {
    Diagnostic { code, severity: Severity::Error, place: None, message, help: help.to_owned() }
}

fn read_file(
    file: &Arc<SourceFile>,
    written: &mut Written,
    places: &mut BTreeMap<String, Place>,
    f: &mut Findings,
) -> (Access, Vec<Listener>) {
    let (mut access, mut listeners) = (Access::default(), Vec::new());
    let document = Document::parse(file, f);
    let mut top = document.table();
    let mut read = |table: &mut Table<'_>, section: &str, f: &mut Findings| {
        for key in KEYS.iter().filter(|key| key.section == section) {
            let Some(item) = table.item(key.name) else { continue };
            let value = match key.shape {
                Shape::Text => String::read(&item, f).map(Value::from),
                Shape::Texts if item.is_list() => {
                    let texts: Vec<_> = item.items().iter().filter_map(|item| String::read(item, f)).collect();
                    Some(Value::from(texts.join(",")))
                }
                Shape::Texts => String::read(&item, f).map(Value::from),
                Shape::Flag => bool::read(&item, f).map(Value::from),
                Shape::Whole(low, high) => i64::read(&item, f)
                    .filter(|number| {
                        let fits = (low..=high).contains(number);
                        if !fits {
                            let message = format!("`{}` takes a whole number from {low} to {high}", key.name);
                            f.error("out-of-range", &item.place(), message, "choose one in that range");
                        }
                        fits
                    })
                    .map(Value::from),
            };
            places.insert(key.path(), item.place());
            if let Some(value) = value {
                written.0.insert(key.path(), value);
            }
        }
    };
    read(&mut top, "", f);
    for section in SECTIONS.iter().filter(|section| !section.contains('.')) {
        let Some(mut table) = top.table(section, f) else { continue };
        read(&mut table, section, f);
        if *section == "modbus" {
            access = Access::read(&mut table, f);
            listeners = table.tables("listener", f).into_iter().filter_map(|t| Listener::read(t, f)).collect();
        }
        for inner in SECTIONS {
            let Some((outer, name)) = inner.split_once('.') else { continue };
            if outer == *section
                && let Some(mut table) = table.table(name, f)
            {
                read(&mut table, inner, f);
                table.finish(f);
            }
        }
        table.finish(f);
    }
    top.finish(f);
    (access, listeners)
}

/// The variables that name a setting, by its path; the rest of `HEATGATE__*` are found to be unknown or wrong.
fn read_environment(env: &[(String, String)], f: &mut Findings) -> BTreeMap<String, String> {
    let mut known = BTreeMap::new();
    for (name, value) in env {
        if !name.starts_with(&format!("{PREFIX}{SEPARATOR}")) {
            continue;
        }
        let Some(key) = KEYS.iter().find(|key| key.variable() == *name) else {
            let names: Vec<String> = KEYS.iter().map(Key::variable).collect();
            let help = did_you_mean(name, names.iter().map(String::as_str));
            f.push(nowhere("unknown-key", format!("the environment's {name} is no setting"), &help));
            continue;
        };
        let wrong = match key.shape {
            Shape::Text | Shape::Texts => None,
            Shape::Flag => (!matches!(value.as_str(), "true" | "false")).then(|| "true or false".to_owned()),
            Shape::Whole(low, high) => (!value.parse().is_ok_and(|number| (low..=high).contains(&number)))
                .then(|| format!("a whole number from {low} to {high}")),
        };
        if let Some(takes) = wrong {
            f.push(nowhere("wrong-type", format!("{name} takes {takes}, not `{value}`"), "change it or unset it"));
        } else {
            known.insert(key.path(), name.clone());
        }
    }
    known
}

fn values(env: &[(String, String)], variables: &BTreeMap<String, String>) -> Vec<String> {
    let value = |name: &String| env.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
    variables.values().map(|name| value(name).unwrap_or_default()).collect()
}
