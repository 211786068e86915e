//! Files as written: a TOML tree read field by field, with the place of everything. Whoever reads asks for each key;
//! what nobody asked for is unknown. A bad field is reported and becomes `None`, and reading goes on: all findings at
//! once.

mod item;
mod parts;
mod quantity;
mod suggest;

pub use item::{Item, Read};
pub use parts::Parts;
pub use quantity::PercentPerMinute;
pub use suggest::did_you_mean;

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Severity, SourceFile};

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<SourceFile>,
    /// Bytes of it.
    pub span: Range<usize>,
}

impl Place {
    /// `file:line`, to point at a second place from within a sentence.
    pub fn line(&self) -> String {
        format!("{}:{}", self.file.name, self.file.position(self.span.start).0)
    }
}

/// Something that was written at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At<T> {
    /// What.
    pub value: T,
    /// Where.
    pub place: Place,
}

/// Everything found so far.
#[derive(Debug, Default)]
pub struct Findings(Vec<Diagnostic>);

impl Findings {
    /// It cannot be used.
    pub fn error(&mut self, code: &'static str, at: &Place, message: impl Into<String>, help: impl Into<String>) {
        self.0.push(Diagnostic::error(code, &at.file, at.span.clone(), message, help));
    }

    /// It is probably not what is meant.
    pub fn warning(&mut self, code: &'static str, at: &Place, message: impl Into<String>, help: impl Into<String>) {
        self.0.push(Diagnostic::warning(code, &at.file, at.span.clone(), message, help));
    }

    /// A finding that is about no place in a file.
    pub fn push(&mut self, finding: Diagnostic) {
        self.0.push(finding);
    }

    /// Whether anything cannot be used.
    pub fn any_error(&self) -> bool {
        self.0.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// All of them by file and place, each once: a template that is used twice is wrong once.
    pub fn sorted(self) -> Vec<Diagnostic> {
        let mut list = self.0;
        let order = |d: &Diagnostic| d.place.as_ref().map(|(file, span)| (file.name.clone(), span.start, span.end));
        list.sort_by_cached_key(|d| (order(d), d.code, d.message.clone()));
        list.dedup();
        list
    }
}

/// A parsed file.
#[derive(Debug)]
pub struct Document<'a> {
    file: &'a Arc<SourceFile>,
    root: Spanned<DeTable<'a>>,
    /// Where its text begins in the file.
    start: usize,
    broken: bool,
}

impl<'a> Document<'a> {
    /// Parse; errors of syntax are found, and what could be understood is kept.
    pub fn parse(file: &'a Arc<SourceFile>, findings: &mut Findings) -> Self {
        let (root, errors) = DeTable::parse_recoverable(&file.text);
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            let place = Place { file: Arc::clone(file), span };
            findings.error("syntax", &place, first_line(error.message()), syntax_help(&place));
        }
        Self { file, root, start: 0, broken: !errors.is_empty() }
    }

    /// Parse a piece of a file's text, `start` bytes into it; `None` when there is any error of syntax.
    fn piece(file: &'a Arc<SourceFile>, text: &'a str, start: usize) -> Option<Self> {
        let (root, errors) = DeTable::parse_recoverable(text);
        errors.is_empty().then_some(Self { file, root, start, broken: false })
    }

    /// Whether this key, and no other, stands at its top level.
    fn has_only(&self, key: &str) -> bool {
        self.root.get_ref().keys().all(|written| written.get_ref().as_ref() == key)
    }

    /// Its top level.
    pub fn table(&self) -> Table<'_> {
        Table {
            file: self.file,
            table: self.root.get_ref(),
            start: self.start,
            span: 0..0,
            name: "the file".to_owned(),
            asked: Vec::new(),
            broken: self.broken,
        }
    }
}

/// From a piece of a text to the whole.
const fn moved(span: Range<usize>, start: usize) -> Range<usize> {
    span.start + start..span.end + start
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}

fn syntax_help(at: &Place) -> &'static str {
    let (line, _) = at.file.position(at.span.start);
    let text = at.file.line(line);
    let value = text.split_once('=').map_or("", |(_, value)| value.trim());
    let comma = value.split_once(',').is_some_and(|(before, after)| {
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        digits(before.trim_start_matches('-')) && digits(after.trim())
    });
    if comma { "decimals take a point: 0.1" } else { "this is not TOML: see https://toml.io" }
}

/// A table that is being read.
#[derive(Debug)]
pub struct Table<'a> {
    file: &'a Arc<SourceFile>,
    table: &'a DeTable<'a>,
    /// Where the parsed text begins in the file.
    start: usize,
    span: Range<usize>,
    name: String,
    asked: Vec<&'static str>,
    broken: bool,
}

impl<'a> Table<'a> {
    /// Where it starts.
    pub fn place(&self) -> Place {
        Place { file: Arc::clone(self.file), span: self.span.clone() }
    }

    /// Whether a key is written; it counts as known.
    pub fn has(&mut self, key: &'static str) -> bool {
        self.item(key).is_some()
    }

    /// A field as it stands.
    pub fn item(&mut self, key: &'static str) -> Option<Item<'a>> {
        self.asked.push(key);
        let value = self.table.get(key)?;
        let span = moved(value.span(), self.start);
        Some(Item { file: self.file, value: value.get_ref(), start: self.start, span, key, broken: self.broken })
    }

    /// A field that may be left out.
    pub fn opt<T: Read>(&mut self, key: &'static str, findings: &mut Findings) -> Option<At<T>> {
        let item = self.item(key)?;
        Some(At { value: T::read(&item, findings)?, place: item.place() })
    }

    /// A field that must be there.
    pub fn need<T: Read>(&mut self, key: &'static str, help: &str, findings: &mut Findings) -> Option<At<T>> {
        if !self.has(key) {
            self.missing(key, help, findings);
            return None;
        }
        self.opt(key, findings)
    }

    /// Report a field that must be there.
    pub fn missing(&self, key: &str, help: &str, findings: &mut Findings) {
        // After an error of syntax it may only seem to be missing.
        if !self.broken {
            findings.error("missing-key", &self.place(), format!("{} needs `{key}`", self.name), help);
        }
    }

    /// A field that is one of some words.
    pub fn word<T: Copy>(&mut self, key: &'static str, words: &[(T, &str)], findings: &mut Findings) -> Option<At<T>> {
        let item = self.item(key)?;
        Some(At { value: item.word(words, findings)?, place: item.place() })
    }

    /// A table in this table.
    pub fn table(&mut self, key: &'static str, findings: &mut Findings) -> Option<Table<'a>> {
        self.item(key)?.table(findings)
    }

    /// All `[[key]]`.
    pub fn tables(&mut self, key: &'static str, findings: &mut Findings) -> Vec<Table<'a>> {
        let Some(item) = self.item(key) else { return Vec::new() };
        match item.value {
            DeValue::Array(_) => item.items().iter().filter_map(|item| item.table(findings)).collect(),
            _ => {
                item.wrong("a list of tables", &format!("write [[{key}]]"), findings);
                Vec::new()
            }
        }
    }

    /// Name every key that nobody asked for.
    pub fn finish(self, findings: &mut Findings) {
        for key in self.table.keys() {
            let text = key.get_ref().as_ref();
            if !self.asked.contains(&text) {
                let place = Place { file: Arc::clone(self.file), span: moved(key.span(), self.start) };
                let help = did_you_mean(text, self.asked.iter().copied());
                findings.error("unknown-key", &place, format!("{} has no key `{text}`", self.name), help);
            }
        }
    }
}
