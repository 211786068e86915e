//! A long file in parts: the many tables of one list are parsed some at a time. Parsed as a whole, the mapping of a large
//! site takes fifty times its own size for a moment, which the process would keep.

use std::ops::Range;
use std::sync::Arc;

use super::{Document, Findings, Table};
use crate::diagnostic::SourceFile;

/// What is parsed at a time, in bytes of text, unless one table is longer.
const PIECE: usize = 16 * 1024;

/// Where a file was cut: the pieces with nothing but `[[key]]`, and all the rest.
#[derive(Debug)]
pub struct Parts {
    key: &'static str,
    /// The text with blanks in the place of the pieces, so that every place in it stays.
    rest: String,
    pieces: Vec<Range<usize>>,
}

impl Parts {
    /// Cut a text of at least `long` bytes, and see every `[[key]]` of it once. `None` when it is shorter, has anything
    /// wrong in its syntax, or is written so that the cuts are not plain to see: then it is to be parsed as a whole.
    pub fn cut(file: &Arc<SourceFile>, key: &'static str, long: usize, mut see: impl FnMut(Table<'_>)) -> Option<Self> {
        let text = file.text.as_str();
        // What looks like a header within a text of many lines is none.
        if text.len() < long || text.contains("\"\"\"") || text.contains("'''") {
            return None;
        }
        let pieces = pieces(text, key);
        let mut rest = String::with_capacity(text.len());
        let mut end = 0;
        for piece in &pieces {
            rest.push_str(text.get(end..piece.start)?);
            rest.extend(std::iter::repeat_n(' ', piece.len()));
            end = piece.end;
        }
        rest.push_str(text.get(end..)?);
        let this = Self { key, rest, pieces };
        if this.rest(file)?.table().has(key) {
            return None;
        }
        for piece in &this.pieces {
            let document = this.piece(file, piece)?;
            if !document.has_only(key) {
                return None;
            }
            document.table().tables(key, &mut Findings::default()).into_iter().for_each(&mut see);
        }
        Some(this)
    }

    /// Everything but the list; `None` when this is of another file.
    pub fn rest<'a>(&'a self, file: &'a Arc<SourceFile>) -> Option<Document<'a>> {
        Document::piece(file, &self.rest, 0)
    }

    /// The list, some tables at a time.
    pub fn documents<'a>(&'a self, file: &'a Arc<SourceFile>) -> impl Iterator<Item = Document<'a>> {
        self.pieces.iter().filter_map(|piece| self.piece(file, piece))
    }

    /// The key of the list.
    pub const fn key(&self) -> &'static str {
        self.key
    }

    fn piece<'a>(&self, file: &'a Arc<SourceFile>, piece: &Range<usize>) -> Option<Document<'a>> {
        Document::piece(file, file.text.get(piece.clone())?, piece.start)
    }
}

/// What a line is for the cuts.
enum Line {
    /// `[[key]]`
    Begins,
    /// A header of something else.
    Other,
    /// Anything that belongs to what is above it.
    Goes,
}

/// Runs of `[[key]]` with all that belongs to them. A line that only looks like a header makes a piece that is no TOML.
fn pieces(text: &str, key: &str) -> Vec<Range<usize>> {
    let mut pieces: Vec<Range<usize>> = Vec::new();
    let (mut at, mut inside) = (0, false);
    for line in text.split_inclusive('\n') {
        let end = at + line.len();
        match kind(line, key) {
            Line::Begins => {
                let open = pieces.last_mut().filter(|piece| inside && end - piece.start <= PIECE);
                match open {
                    Some(piece) => piece.end = end,
                    None => pieces.push(at..end),
                }
                inside = true;
            }
            Line::Other => inside = false,
            Line::Goes => {
                if let Some(piece) = pieces.last_mut().filter(|_| inside) {
                    piece.end = end;
                }
            }
        }
        at = end;
    }
    pieces
}

fn kind(line: &str, key: &str) -> Line {
    let line = line.trim_start();
    let Some(inner) = line.strip_prefix('[') else { return Line::Goes };
    let (inner, close) = inner.strip_prefix('[').map_or((inner, "]"), |inner| (inner, "]]"));
    match inner.strip_prefix(key) {
        Some(after) if after.starts_with('.') => Line::Goes,
        Some(after) if close == "]]" && after.strip_prefix(close).is_some_and(nothing) => Line::Begins,
        // The last line of a list within a list ends like this, too.
        _ if inner.split_once(close).is_some_and(|(name, after)| !name.contains(',') && nothing(after)) => Line::Other,
        _ => Line::Goes,
    }
}

/// Nothing but a comment.
fn nothing(rest: &str) -> bool {
    let rest = rest.trim();
    rest.is_empty() || rest.starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "use = []\n[[point]]\nname = \"ä\"\n[point.source]\ndevice = \"d\"\n\n[[zone]] # hall\nname = \"z\"\n\
                        [[point]] # one more\nname = \"b\"\nstates = [\n  [0, 1],\n  [1, 2],\n]\n[[point]]\nname = \"c\"\n\
                        [zone.loss]\nhold = 1\n";

    fn file(text: &str) -> Arc<SourceFile> {
        SourceFile::new("site.toml", text)
    }

    /// Names, and where they stand.
    type Names = Vec<(String, Range<usize>)>;

    fn names(file: &Arc<SourceFile>) -> Option<(Parts, Names)> {
        let mut names = Names::new();
        let parts = Parts::cut(file, "point", 0, |mut table| {
            let name = table.opt::<String>("name", &mut Findings::default());
            names.extend(name.map(|at| (at.value, at.place.span)));
        })?;
        Some((parts, names))
    }

    #[test]
    fn the_parts_are_the_whole_with_every_place_as_in_the_file() {
        let file = file(SITE);
        let (parts, seen) = names(&file).unwrap();
        let mut findings = Findings::default();
        let whole = Document::parse(&file, &mut findings);
        let mut of_whole = Vec::new();
        for mut table in whole.table().tables("point", &mut findings) {
            of_whole.push((table.opt::<String>("name", &mut findings).unwrap(), table.place()));
        }
        let mut of_parts = Vec::new();
        for document in parts.documents(&file) {
            for mut table in document.table().tables(parts.key(), &mut findings) {
                of_parts.push((table.opt::<String>("name", &mut findings).unwrap(), table.place()));
            }
        }
        assert_eq!(of_parts, of_whole);
        assert_eq!(seen.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["ä", "b", "c"]);
        assert_eq!(parts.pieces.len(), 2);
        let rest = parts.rest(&file).unwrap();
        let mut zones = rest.table().tables("zone", &mut findings);
        assert_eq!(zones.len(), 1);
        assert!(zones.iter_mut().all(|zone| zone.has("loss") && zone.has("name")));
        assert!(findings.sorted().is_empty());
    }

    #[test]
    fn what_cannot_be_cut_with_certainty_is_left_whole() {
        let whole = |text: &str| names(&file(text)).is_none();
        assert!(!whole(SITE));
        for text in [
            // Errors of syntax, in a piece and in the rest.
            "[[point]]\nname = \n",
            "a = [\n[[point]]\nname = 1\n",
            "a =\n[[point]]\nname = \"a\"\n",
            // A list that is not, or not only, in such tables.
            "point = 3\n[[point]]\nname = \"a\"\n",
            "point = [{ name = \"a\" }]\n",
            "[[\"point\"]]\nname = \"a\"\n",
            "[point.x]\na = 1\n[[point]]\nname = \"a\"\n",
            // What looks like a header in a text.
            "a = \"\"\"\n[[point]]\n\"\"\"\n",
            "a = '''\n[[point]]\n'''\n",
            // Lists whose last line looks like a header.
            "[[point]]\nname = \"a\"\nx = [\n[\"y\"]\n]\n",
            // A header that cannot be told from text.
            "[[point]]\nname = \"a\"\n[\"x,y\"]\nz = 1\n",
        ] {
            assert!(whole(text), "{text}");
        }
    }

    #[test]
    fn pieces_are_short() {
        let text: String = (0..5_000).map(|n| format!("[[point]]\nname = \"p{n}\"\n")).collect();
        let file = file(&text);
        let (parts, seen) = names(&file).unwrap();
        assert_eq!(seen.len(), 5_000);
        assert!(parts.pieces.iter().all(|piece| piece.len() <= PIECE + 64), "{:?}", parts.pieces);
        assert!(seen.iter().all(|(name, span)| file.text.get(span.clone()) == Some(&format!("\"{name}\""))));
        assert!(Parts::cut(&file, "point", text.len() + 1, |_| ()).is_none());
    }
}
