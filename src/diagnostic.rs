//! Findings about files: what, where to the column, the offending text, and how to mend it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// It works, and is probably not what is meant.
    Warning,
    /// It cannot be used.
    Error,
}

impl Severity {
    /// In lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// A file that was read: its name as given, and its text.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Path as the user would write it.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl SourceFile {
    /// A file ready to be shared by its findings.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), text: text.into() })
    }

    /// Line and column of a byte offset, both from 1; columns count characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = self.text.get(..end).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (line, column)
    }

    /// The text of a line, from 1.
    pub fn line(&self, number: usize) -> &str {
        self.text.lines().nth(number.saturating_sub(1)).unwrap_or_default()
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// A stable word for it, such as `unknown-key`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Where: a file and a byte range in it; `None` when it is about no place in a file.
    pub place: Option<(Arc<SourceFile>, Range<usize>)>,
    /// What is wrong, in one sentence.
    pub message: String,
    /// How to mend it.
    pub help: String,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(
        code: &'static str,
        file: &Arc<SourceFile>,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            code,
            severity: Severity::Error,
            place: Some((Arc::clone(file), span)),
            message: message.into(),
            help: help.into(),
        }
    }

    /// A warning at a place.
    pub fn warning(
        code: &'static str,
        file: &Arc<SourceFile>,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, file, span, message, help) }
    }

    /// File, line and column, from 1.
    pub fn position(&self) -> Option<(&str, usize, usize)> {
        self.place.as_ref().map(|(file, span)| {
            let (line, column) = file.position(span.start);
            (file.name.as_str(), line, column)
        })
    }

    /// The offending text, at most its first line.
    pub fn offending(&self) -> &str {
        self.place
            .as_ref()
            .and_then(|(file, span)| file.text.get(span.clone()))
            .and_then(|text| text.lines().next())
            .unwrap_or_default()
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((file, span)) = &self.place {
            let (line, column) = file.position(span.start);
            writeln!(f, "{}:{line}:{column}: {}[{}]: {}", file.name, self.severity.as_str(), self.code, self.message)?;
            let text = file.line(line);
            let width = self.offending().chars().count().max(1);
            let number = line.to_string();
            writeln!(f, "  {number} | {text}")?;
            writeln!(f, "  {:len$} | {:pad$}{}", "", "", "^".repeat(width), len = number.len(), pad = column - 1)?;
        } else {
            writeln!(f, "{}[{}]: {}", self.severity.as_str(), self.code, self.message)?;
        }
        write!(f, "  help: {}", self.help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_the_place_the_text_and_the_mend() {
        let file = SourceFile::new("site.toml", "a = 1\nü_scale = 0,1\n");
        let start = file.text.find("0,1").unwrap();
        let finding = Diagnostic::error("bad-number", &file, start..start + 3, "not a number", "write 0.1");
        assert_eq!(finding.position(), Some(("site.toml", 2, 11)));
        assert_eq!(
            finding.to_string(),
            "site.toml:2:11: error[bad-number]: not a number\n  2 | ü_scale = 0,1\n    |           ^^^\n  help: write 0.1"
        );
    }

    #[test]
    fn any_offset_has_a_position() {
        let file = SourceFile::new("x", "é");
        assert_eq!(file.position(1), (1, 1));
        assert_eq!(file.position(99), (1, 2));
    }
}
