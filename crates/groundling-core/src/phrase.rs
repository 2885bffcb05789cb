//! Referring expressions, checked at the door.

use std::ops::Range;

/// A referring expression: not blank, of bounded length, kept exactly as the user wrote it.
///
/// Results echo [`Phrase::as_str`] verbatim; models lower-case and cut it for themselves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Phrase(String);

/// What a phrase may measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhraseLimits {
    /// Bytes of UTF-8.
    pub max_bytes: usize,
    /// Words between white space.
    pub max_words: usize,
}

impl Default for PhraseLimits {
    /// 4096 bytes and 512 words: what BERT's 512 positions can ever read.
    fn default() -> Self {
        Self { max_bytes: 4096, max_words: 512 }
    }
}

/// Why a text is not a phrase.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PhraseError {
    /// Nothing but white space.
    #[error("the phrase is empty, expected at least one word")]
    Empty,
    /// Too many bytes.
    #[error("the phrase is {found} bytes long, expected at most {limit}")]
    TooLong {
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Too many words.
    #[error("the phrase has {found} words, expected at most {limit}")]
    TooManyWords {
        /// Words found.
        found: usize,
        /// Words allowed.
        limit: usize,
    },
    /// Bytes that are not UTF-8.
    #[error("the phrase is not UTF-8: byte {position} starts no valid character")]
    NotUtf8 {
        /// First bad byte.
        position: usize,
    },
}

impl Phrase {
    /// Checks a text against the default limits.
    ///
    /// # Errors
    /// [`PhraseError`] if it is blank or too long.
    pub fn parse(text: &str) -> Result<Self, PhraseError> {
        Self::parse_within(text, PhraseLimits::default())
    }

    /// Checks a text against limits of the caller's.
    ///
    /// # Errors
    /// [`PhraseError`] if it is blank or too long.
    pub fn parse_within(text: &str, limits: PhraseLimits) -> Result<Self, PhraseError> {
        if text.len() > limits.max_bytes {
            // A 10 000-word text is better described by its words, but counting must stay cheap for gigabytes.
            let words = text.split_whitespace().take(100_000).count();
            if words > limits.max_words {
                return Err(PhraseError::TooManyWords { found: words, limit: limits.max_words });
            }
            return Err(PhraseError::TooLong { found: text.len(), limit: limits.max_bytes });
        }
        let words = text.split_whitespace().count();
        if words == 0 {
            return Err(PhraseError::Empty);
        }
        if words > limits.max_words {
            return Err(PhraseError::TooManyWords { found: words, limit: limits.max_words });
        }
        Ok(Self(text.to_owned()))
    }

    /// Checks bytes from outside: UTF-8 first, then as [`Phrase::parse`].
    ///
    /// # Errors
    /// [`PhraseError`], with the place of the first bad byte.
    pub fn parse_bytes(bytes: &[u8]) -> Result<Self, PhraseError> {
        let text =
            std::str::from_utf8(bytes).map_err(|error| PhraseError::NotUtf8 { position: error.valid_up_to() })?;
        Self::parse(text)
    }

    /// The text, verbatim.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Number of words between white space, at least 1.
    pub fn word_count(&self) -> usize {
        self.0.split_whitespace().count()
    }

    /// The phrase with whole words "left" and "right" exchanged, for a picture that was mirrored. Case is kept
    /// ("Left" becomes "Right"), and so are words that merely contain them ("brightest", "leftover"); their compounds
    /// `leftmost`, `rightmost`, `left-hand`, `right-hand` follow.
    pub fn mirrored(&self) -> Self {
        Self(mirror_words(&self.0))
    }
}

impl std::fmt::Display for Phrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Exchanges left and right in a text, whole words only.
pub fn mirror_words(text: &str) -> String {
    const PAIRS: [(&str, &str); 3] = [("left", "right"), ("leftmost", "rightmost"), ("lefthand", "righthand")];
    let mut mirrored = String::with_capacity(text.len() + 8);
    let mut end = 0;
    for word in letters(text) {
        mirrored.push_str(&text[end..word.start]);
        end = word.end;
        let word = &text[word];
        let lower = word.to_lowercase();
        let other = PAIRS.iter().find_map(|&(l, r)| match lower.as_str() {
            w if w == l => Some(r),
            w if w == r => Some(l),
            _ => None,
        });
        match other {
            Some(other) => mirrored.push_str(&with_case_of(word, other)),
            None => mirrored.push_str(word),
        }
    }
    mirrored.push_str(&text[end..]);
    mirrored
}

/// Exchanges every occurrence of "left" and "right", inside words too.
///
/// PARITY: the released TransVG, VLTVG and QRNet do this in training, so "brightest" becomes "bleftest". Ours is
/// [`mirror_words`]; this is the switch for people who reproduce their runs.
pub fn mirror_substrings(text: &str) -> String {
    let between: Vec<String> = text.split("right").map(|part| part.replace("left", "right")).collect();
    between.join("left")
}

/// Byte ranges of the runs of letters.
fn letters(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut chars = text.char_indices().peekable();
    std::iter::from_fn(move || {
        let (start, _) = chars.find(|(_, c)| c.is_alphabetic())?;
        let mut end = text.len();
        while let Some(&(position, c)) = chars.peek() {
            if !c.is_alphabetic() {
                end = position;
                break;
            }
            chars.next();
        }
        Some(start..end)
    })
}

fn with_case_of(pattern: &str, word: &str) -> String {
    if pattern.chars().all(char::is_uppercase) {
        return word.to_uppercase();
    }
    if !pattern.chars().next().is_some_and(char::is_uppercase) {
        return word.to_owned();
    }
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_is_kept_verbatim() {
        let phrase = Phrase::parse("  the  Left cup ").unwrap();
        assert_eq!(phrase.as_str(), "  the  Left cup ");
        assert_eq!(phrase.word_count(), 3);
    }

    #[test]
    fn bad_phrases_are_errors() {
        assert_eq!(Phrase::parse(""), Err(PhraseError::Empty));
        assert_eq!(Phrase::parse(" \t\n\u{a0}"), Err(PhraseError::Empty));
        let long = "cup ".repeat(10_000);
        assert_eq!(Phrase::parse(&long), Err(PhraseError::TooManyWords { found: 10_000, limit: 512 }));
        assert_eq!(Phrase::parse("x".repeat(5000).as_str()), Err(PhraseError::TooLong { found: 5000, limit: 4096 }));
        assert_eq!(Phrase::parse_bytes(b"red \xff cup"), Err(PhraseError::NotUtf8 { position: 4 }));
    }

    #[test]
    fn mirroring_follows_words() {
        for (text, mirrored) in [
            ("the left man on the brightest right", "the right man on the brightest left"),
            ("LEFT, Right; leftmost.", "RIGHT, Left; rightmost."),
            ("left-hand cup", "right-hand cup"),
            ("leftover pizza", "leftover pizza"),
            ("ÄLEFT", "ÄLEFT"),
            ("", ""),
        ] {
            assert_eq!(mirror_words(text), mirrored);
            assert_eq!(mirror_words(mirrored), text);
        }
        assert_eq!(mirror_substrings("the right man on the brightest left"), "the left man on the bleftest right");
        assert_eq!(mirror_substrings("a\u{0}b leftright"), "a\u{0}b rightleft", "no character is special");
    }
}
