//! A short text that a device says of itself: a serial number, a version, a model.

use std::fmt;

/// A text of at most [`Text::LONGEST`] bytes, without control characters, not empty. It is held in place, so that a value
/// stays something that is copied.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text([u8; Text::LONGEST]);

impl Text {
    /// Most bytes of UTF-8: what fits beside the tag of a value into three words of memory.
    pub const LONGEST: usize = 23;

    /// Without the spaces around it, cut after the last character that fits. `None` where nothing is left, or where it
    /// has control characters: then it is no text.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() || text.chars().any(char::is_control) {
            return None;
        }
        let cut = text.get(..text.floor_char_boundary(Self::LONGEST))?.trim_end();
        let mut bytes = [0; Self::LONGEST];
        bytes.get_mut(..cut.len())?.copy_from_slice(cut.as_bytes());
        Some(Self(bytes))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // No character of it is NUL.
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(Self::LONGEST);
        self.0.get(..end).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spaces_around_it_go_and_what_is_no_text_is_none() {
        assert_eq!(Text::new("  MULTICAL 603 \t").unwrap().as_str(), "MULTICAL 603");
        for bad in ["", "   ", "a\0b", "a\nb", "\u{7f}"] {
            assert_eq!(Text::new(bad), None, "{bad:?}");
        }
        let long = Text::new("twenty-two bytes here \u{e4}\u{e4}").unwrap();
        assert_eq!(long.as_str(), "twenty-two bytes here", "no half character, no space at the end");
        assert_eq!(Text::new(&"x".repeat(40)).unwrap().as_str().len(), Text::LONGEST);
        assert_eq!(size_of::<crate::point::Value>(), 24);
    }

    proptest! {
        #[test]
        fn what_is_held_is_the_beginning_of_what_was_said(said in ".*") {
            if let Some(text) = Text::new(&said) {
                prop_assert!(said.trim().starts_with(text.as_str()));
                prop_assert!(!text.as_str().is_empty());
                prop_assert_eq!(Text::new(text.as_str()), Some(text));
            }
        }
    }
}
