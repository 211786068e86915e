//! One value as written, and what it can be read as.

use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeArray, DeValue};

use super::{At, Findings, Place, Table, did_you_mean, moved};
use crate::diagnostic::SourceFile;

/// One value as written.
#[derive(Debug, Clone)]
pub struct Item<'a> {
    pub(super) file: &'a Arc<SourceFile>,
    pub(super) value: &'a DeValue<'a>,
    /// Where the parsed text begins in the file.
    pub(super) start: usize,
    pub(super) span: Range<usize>,
    /// The key that it stands under.
    pub key: &'static str,
    pub(super) broken: bool,
}

/// What a value can be read as.
pub trait Read: Sized {
    /// Read it, or say why not.
    fn read(item: &Item<'_>, findings: &mut Findings) -> Option<Self>;
}

impl<'a> Item<'a> {
    /// Where it stands.
    pub fn place(&self) -> Place {
        Place { file: Arc::clone(self.file), span: self.span.clone() }
    }

    /// Report that something else was meant to stand here.
    pub fn wrong(&self, takes: &str, help: &str, findings: &mut Findings) {
        let message = format!("`{}` takes {takes}, this is {}", self.key, article(self.value.type_str()));
        findings.error("wrong-type", &self.place(), message, help);
    }

    /// As text.
    pub fn as_text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// As a whole number.
    pub fn as_whole(&self) -> Option<i128> {
        let integer = self.value.as_integer()?;
        i128::from_str_radix(integer.as_str(), integer.radix()).ok()
    }

    /// As a finite number, whole or not.
    #[expect(clippy::cast_precision_loss, reason = "a number of a file")]
    pub fn as_number(&self) -> Option<f64> {
        let float = || self.value.as_float()?.as_str().parse::<f64>().ok();
        float().or_else(|| Some(self.as_whole()? as f64)).filter(|number| number.is_finite())
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        self.value.is_array()
    }

    /// Whether it is a table.
    pub fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// The members of a list; none when it is not a list.
    pub fn items(&self) -> Vec<Item<'a>> {
        let list = |list: &'a DeArray<'a>| {
            list.iter()
                .map(|item| Item { value: item.get_ref(), span: moved(item.span(), self.start), ..self.clone() })
                .collect::<Vec<_>>()
        };
        self.value.as_array().map(list).unwrap_or_default()
    }

    /// As a table.
    pub fn table(&self, findings: &mut Findings) -> Option<Table<'a>> {
        if let Some(table) = self.value.as_table() {
            return Some(Table {
                file: self.file,
                table,
                start: self.start,
                span: self.span.clone(),
                name: format!("`{}`", self.key),
                asked: Vec::new(),
                broken: self.broken,
            });
        }
        self.wrong("a table", "write { key = value, ... }", findings);
        None
    }

    /// As one of some words.
    pub fn word<T: Copy>(&self, words: &[(T, &str)], findings: &mut Findings) -> Option<T> {
        let Some(text) = self.as_text() else {
            self.wrong("a word", &did_you_mean("", words.iter().map(|w| w.1)), findings);
            return None;
        };
        let found = words.iter().find(|w| w.1 == text).map(|w| w.0);
        if found.is_none() {
            let help = did_you_mean(text, words.iter().map(|w| w.1));
            findings.error("unknown-word", &self.place(), format!("`{}` cannot be `{text}`", self.key), help);
        }
        found
    }
}

fn article(kind: &str) -> String {
    match kind {
        "integer" => "a whole number".to_owned(),
        "float" => "a number".to_owned(),
        "boolean" => "true or false".to_owned(),
        "string" => "a text".to_owned(),
        "array" => "a list".to_owned(),
        other => format!("a {other}"),
    }
}

impl Read for String {
    fn read(item: &Item<'_>, findings: &mut Findings) -> Option<Self> {
        let text = item.as_text();
        if text.is_none() {
            item.wrong("a text", "put it in quotes", findings);
        }
        text.map(str::to_owned)
    }
}

impl Read for bool {
    fn read(item: &Item<'_>, findings: &mut Findings) -> Option<Self> {
        let flag = item.value.as_bool();
        if flag.is_none() {
            item.wrong("true or false", "write true or false, without quotes", findings);
        }
        flag
    }
}

impl Read for f64 {
    fn read(item: &Item<'_>, findings: &mut Findings) -> Option<Self> {
        let number = item.as_number();
        match (number, item.value) {
            (Some(_), _) => {}
            (None, DeValue::Float(_)) => {
                let message = format!("`{}` takes a finite number", item.key);
                findings.error("out-of-range", &item.place(), message, "nan and inf are no values");
            }
            _ => item.wrong("a number", "write a number without quotes, with a decimal point", findings),
        }
        number
    }
}

macro_rules! whole {
    ($($type:ty),*) => {$(
        impl Read for $type {
            fn read(item: &Item<'_>, findings: &mut Findings) -> Option<Self> {
                let takes = format!("a whole number from {} to {}", Self::MIN, Self::MAX);
                let Some(whole) = item.as_whole() else {
                    item.wrong(&takes, "write a whole number without quotes", findings);
                    return None;
                };
                let number = Self::try_from(whole).ok();
                if number.is_none() {
                    let message = format!("`{}` takes {takes}, not {whole}", item.key);
                    findings.error("out-of-range", &item.place(), message, "choose one in that range");
                }
                number
            }
        }
    )*};
}
whole!(u8, u16, u32, u64, i64);

impl<T: Read> Read for Vec<At<T>> {
    fn read(item: &Item<'_>, findings: &mut Findings) -> Option<Self> {
        if !item.is_list() {
            item.wrong("a list", "write [ ... ]", findings);
            return None;
        }
        let members = item.items();
        Some(members.iter().filter_map(|m| Some(At { value: T::read(m, findings)?, place: m.place() })).collect())
    }
}
