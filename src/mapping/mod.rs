//! Mapping files to the compiled plant: as written, checked, compiled. Pure over file contents; every finding at once,
//! each with its place.
//!
//! A site's mapping names templates (`use`), which are laid out once per zone, and device profiles, once per device.
//! Files that the site does not have are taken from those that are built in.

mod alarm;
mod build;
mod builtin;
mod device;
mod example;
mod faces;
mod link;
mod point;
mod served;
mod service;
mod target;
mod written;
mod zone;

#[cfg(test)]
mod profile_tests;
#[cfg(test)]
mod tests;

pub use builtin::{BUILTIN, builtin};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Severity, SourceFile};
use crate::plant::Plant;
use crate::written::{Document, Findings, Parts, Place, did_you_mean};
use build::Builder;
use written::{ProfileFile, SiteFile, TemplateFile};

/// Where file contents come from.
pub trait Files {
    /// The text of a file, by its path relative to the root mapping's directory; why not, in words.
    fn read(&self, name: &str) -> Result<String, String>;

    /// Whether something of that name is there, readable or not: then no built-in file takes its place.
    fn is_there(&self, _name: &str) -> bool {
        false
    }

    /// The name that findings show.
    fn shown(&self, name: &str) -> String {
        name.to_owned()
    }
}

/// Only what is built in.
#[derive(Debug, Clone, Copy)]
pub struct BuiltinFiles;

impl Files for BuiltinFiles {
    fn read(&self, name: &str) -> Result<String, String> {
        Err(format!("{name} is not built in"))
    }
}

/// The outcome of [`compile`].
#[derive(Debug)]
pub struct Compiled {
    /// The plant; `None` when there is any error.
    pub plant: Option<Plant>,
    /// Everything found, errors and warnings, by file and place.
    pub findings: Vec<Diagnostic>,
    /// How many worked examples of profiles were evaluated.
    pub examples: usize,
}

/// From here on a site's file is read in parts, in bytes.
const LONG: usize = 64 * 1024;

/// Compile a site's mapping. `root` is the name of its file, relative to the directory that `files` reads from.
pub fn compile(root: &str, files: &dyn Files) -> Compiled {
    compile_in_parts(root, files, LONG)
}

/// [`compile`], with another length from which on a file is read in parts.
fn compile_in_parts(root: &str, files: &dyn Files, long: usize) -> Compiled {
    let mut findings = Findings::default();
    let text = match load(root, files) {
        Ok(file) => file,
        Err(why) => {
            findings.push(Diagnostic {
                code: "unreadable",
                severity: Severity::Error,
                place: None,
                message: format!("{} cannot be read: {why}", files.shown(root)),
                help: "`mapping` in the configuration names the site's mapping file".to_owned(),
            });
            return Compiled { plant: None, findings: findings.sorted(), examples: 0 };
        }
    };
    let mut names = BTreeSet::new();
    let parts = Parts::cut(&text, "point", long, |mut point| {
        names.extend(point.opt::<String>("name", &mut Findings::default()).map(|at| at.value));
    });
    let mut site = match parts.as_ref().and_then(|parts| parts.rest(&text)) {
        Some(rest) => SiteFile::read(&rest, &mut findings),
        None => SiteFile::read(&Document::parse(&text, &mut findings), &mut findings),
    };
    site.names.extend(names);
    let templates = templates(&site, files, &mut findings);
    let profiles = profiles(&site, files, &mut findings);

    let examples = profiles.values().flatten().map(|profile| profile.examples.len()).sum();

    let mut builder = Builder::new(findings);
    builder.site(&site, parts.as_ref().map(|parts| (&text, parts)), &templates, &profiles);
    let (plant, findings) = builder.finish();
    Compiled { plant: (!findings.any_error()).then_some(plant), findings: findings.sorted(), examples }
}

/// Profiles by the name that devices give them; `None` where the file cannot be read.
type Profiles = BTreeMap<String, Option<ProfileFile>>;

fn templates(site: &SiteFile, files: &dyn Files, findings: &mut Findings) -> Vec<TemplateFile> {
    let mut all: Vec<TemplateFile> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for name in &site.templates {
        if names.contains(&name.value.as_str()) {
            let message = format!("`{}` is used twice", name.value);
            findings.error("duplicate-name", &name.place, message, "once is enough for all zones");
            continue;
        }
        names.push(&name.value);
        if let Some(file) = referred(&name.value, &name.place, files, findings) {
            all.push(TemplateFile::read(&Document::parse(&file, findings), findings));
        }
    }
    all
}

fn profiles(site: &SiteFile, files: &dyn Files, findings: &mut Findings) -> Profiles {
    let mut all = Profiles::new();
    for name in site.devices.iter().filter_map(|device| device.profile.as_ref()) {
        if all.contains_key(&name.value) {
            continue;
        }
        let profile = referred(&format!("profiles/{}.toml", name.value), &name.place, files, findings).map(|file| {
            let profile = ProfileFile::read(&Document::parse(&file, findings), findings);
            example::check(&profile, findings);
            profile
        });
        all.insert(name.value.clone(), profile);
    }
    all
}

fn load(name: &str, files: &dyn Files) -> Result<Arc<SourceFile>, String> {
    match (files.read(name), builtin(name)) {
        (Ok(text), _) => Ok(SourceFile::new(files.shown(name), text)),
        (Err(_), Some(text)) if !files.is_there(name) => Ok(SourceFile::new(format!("built-in {name}"), text)),
        (Err(why), _) => Err(why),
    }
}

fn referred(name: &str, at: &Place, files: &dyn Files, findings: &mut Findings) -> Option<Arc<SourceFile>> {
    load(name, files)
        .map_err(|why| {
            let help = did_you_mean(name, BUILTIN.iter().map(|file| file.0));
            let message = format!("{} cannot be read: {why}", files.shown(name));
            findings.error("unreadable", at, message, help);
        })
        .ok()
}
