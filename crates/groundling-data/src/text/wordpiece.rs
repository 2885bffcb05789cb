//! BERT's uncased WordPiece tokeniser, with the place of every piece in the original text.
//!
//! Clean-up, spacing of CJK characters, accent stripping (NFD, drop Mn), lower-casing, splitting at white space and
//! punctuation, then greedy longest match with `##` continuations. Equal to the `tokenizers` crate, piece by piece.
//!
//! Source: Devlin et al. 2019 (arXiv:1810.04805) and the behaviour of the published tokeniser.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

/// `[PAD]` in bert-base-uncased.
pub const PAD: u32 = 0;
/// Words of more characters become `[UNK]`.
const MAX_WORD_CHARS: usize = 100;
const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// A vocabulary with the rules to apply it. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct WordPiece {
    vocabulary: Arc<Vocabulary>,
}

#[derive(Debug)]
struct Vocabulary {
    /// First and continuing pieces apart, so that looking up `##x` builds no string.
    starts: HashMap<Box<str>, u32>,
    continuations: HashMap<Box<str>, u32>,
    tokens: Vec<Box<str>>,
    longest: usize,
    special: SpecialIds,
}

/// Ids of the tokens with a meaning of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialIds {
    /// `[UNK]`, for words the vocabulary cannot spell.
    pub unknown: u32,
    /// `[CLS]`, first of every sequence.
    pub start: u32,
    /// `[SEP]`, last of every sequence.
    pub separator: u32,
}

/// Why a file is not a vocabulary.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VocabularyError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A token stands twice.
    #[error("{place}:{line}: token {token:?} stands here and on line {first}")]
    Duplicate {
        /// The file, or "vocabulary".
        place: String,
        /// The second line.
        line: usize,
        /// The first line.
        first: usize,
        /// The token.
        token: String,
    },
    /// A special token is missing.
    #[error("{place}: token {token:?} is missing; expected one token a line, with [PAD], [UNK], [CLS], [SEP], [MASK]")]
    Missing {
        /// The file, or "vocabulary".
        place: String,
        /// The token.
        token: &'static str,
    },
}

/// How a sequence that is too long is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truncation {
    /// Keep the first ids of the whole sequence, so that a long phrase loses its `[SEP]` (DMMI).
    Cut,
    /// Keep the first pieces and end with `[SEP]` (ScanFormer, TransVG, VLTVG, QRNet).
    KeepSeparator,
}

/// A phrase as ids, with the place each came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Ids, `[CLS]` first and `[SEP]` last.
    pub ids: Vec<u32>,
    /// Bytes of the text that each id stands for; empty for `[CLS]` and `[SEP]`.
    pub spans: Vec<Range<usize>>,
}

impl Encoded {
    /// Cut to at most `length` ids.
    pub fn fitted(mut self, length: usize, truncation: Truncation) -> Self {
        if self.ids.len() <= length {
            return self;
        }
        let (separator, span) = match (self.ids.last(), self.spans.last()) {
            (Some(&id), Some(span)) => (id, span.clone()),
            _ => return self,
        };
        self.ids.truncate(length);
        self.spans.truncate(length);
        if let (Truncation::KeepSeparator, Some(id), Some(place)) =
            (truncation, self.ids.last_mut(), self.spans.last_mut())
        {
            (*id, *place) = (separator, span);
        }
        self
    }

    /// Ids padded with [`PAD`] to `length`, and the mask: `true` for real ids.
    ///
    /// # Panics
    /// If there are more than `length` ids; call [`Encoded::fitted`] first.
    pub fn padded(&self, length: usize) -> (Vec<u32>, Vec<bool>) {
        assert!(self.ids.len() <= length, "{} ids do not fit {length}", self.ids.len());
        let mut ids = self.ids.clone();
        ids.resize(length, PAD);
        (ids, (0..length).map(|i| i < self.ids.len()).collect())
    }
}

impl WordPiece {
    /// The vocabulary of bert-base-uncased, which is part of the program.
    pub fn bert_base_uncased() -> Self {
        static SHARED: OnceLock<WordPiece> = OnceLock::new();
        let load = || {
            let text = include_str!("../../assets/bert-base-uncased/vocab.txt");
            Self::parse(text, "vocabulary").expect("the embedded vocabulary is whole, a test reads it")
        };
        SHARED.get_or_init(load).clone()
    }

    /// A vocabulary file: one token a line, the id is the line number from 0.
    ///
    /// # Errors
    /// If it cannot be read, repeats a token or lacks a special one.
    pub fn from_file(path: &Path) -> Result<Self, VocabularyError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| VocabularyError::Io { path: path.to_owned(), source })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// A vocabulary in memory; `place` names it in errors.
    ///
    /// # Errors
    /// As [`WordPiece::from_file`].
    pub fn parse(text: &str, place: &str) -> Result<Self, VocabularyError> {
        let tokens: Vec<Box<str>> = text.lines().map(|line| line.trim_end_matches('\r').into()).collect();
        let (mut starts, mut continuations) = (HashMap::with_capacity(tokens.len()), HashMap::new());
        let mut longest = 1;
        for (index, token) in tokens.iter().enumerate() {
            let (table, piece) = match token.strip_prefix("##") {
                Some(piece) if !piece.is_empty() => (&mut continuations, piece),
                _ => (&mut starts, &**token),
            };
            longest = longest.max(piece.chars().count());
            if let Some(first) = table.insert(piece.into(), index as u32) {
                let (place, token) = (place.to_owned(), token.to_string());
                return Err(VocabularyError::Duplicate { place, line: index + 1, first: first as usize + 1, token });
            }
        }
        let id = |token: &'static str| {
            starts.get(token).copied().ok_or_else(|| VocabularyError::Missing { place: place.to_owned(), token })
        };
        let [_, unknown, start, separator, _] = SPECIAL.map(id);
        let special = SpecialIds { unknown: unknown?, start: start?, separator: separator? };
        id("[PAD]").and(id("[MASK]"))?;
        Ok(Self { vocabulary: Arc::new(Vocabulary { starts, continuations, tokens, longest, special }) })
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.vocabulary.tokens.len()
    }

    /// Whether there are no tokens; never, since the special ones are required.
    pub fn is_empty(&self) -> bool {
        self.vocabulary.tokens.is_empty()
    }

    /// The token of an id.
    pub fn token(&self, id: u32) -> Option<&str> {
        self.vocabulary.tokens.get(id as usize).map(|token| &**token)
    }

    /// The ids with a meaning of their own.
    pub fn special(&self) -> SpecialIds {
        self.vocabulary.special
    }

    /// `[CLS]`, the pieces of `text`, `[SEP]`. Uncut; an empty text gives the two special ids alone.
    ///
    /// `[UNK]`, `[CLS]`, `[SEP]`, `[PAD]` and `[MASK]` written out in the text stand for themselves.
    pub fn encode(&self, text: &str) -> Encoded {
        let SpecialIds { start, separator, .. } = self.special();
        let mut encoded = Encoded { ids: vec![start], spans: std::iter::once(0..0).collect() };
        let mut rest = 0;
        while let Some((place, token)) = next_special(text, rest) {
            self.encode_plain(&text[rest..place], rest, &mut encoded);
            rest = place + token.len();
            encoded.ids.extend(self.vocabulary.starts.get(token));
            encoded.spans.push(place..rest);
        }
        self.encode_plain(&text[rest..], rest, &mut encoded);
        encoded.ids.push(separator);
        encoded.spans.push(text.len()..text.len());
        encoded
    }

    /// The pieces of `text` as strings, without `[CLS]` and `[SEP]`.
    pub fn tokenize(&self, text: &str) -> Vec<String> {
        let ids = self.encode(text).ids;
        ids[1..ids.len() - 1].iter().filter_map(|&id| self.token(id)).map(str::to_owned).collect()
    }

    fn encode_plain(&self, text: &str, offset: usize, encoded: &mut Encoded) {
        let clean = normalise(text, offset);
        for word in clean.split(|letter| letter.kind == Kind::Space) {
            let mut start = 0;
            for (index, letter) in word.iter().enumerate() {
                if letter.kind == Kind::Punctuation {
                    self.encode_word(&word[start..index], encoded);
                    self.encode_word(&word[index..=index], encoded);
                    start = index + 1;
                }
            }
            self.encode_word(&word[start..], encoded);
        }
    }

    /// Greedy longest match; a word that cannot be spelled becomes one `[UNK]`.
    fn encode_word(&self, word: &[Letter], encoded: &mut Encoded) {
        let (Some(first), Some(last)) = (word.first(), word.last()) else { return };
        let kept = encoded.ids.len();
        let mut piece = String::new();
        let mut start = 0;
        while start < word.len() && word.len() <= MAX_WORD_CHARS {
            let table = if start == 0 { &self.vocabulary.starts } else { &self.vocabulary.continuations };
            let longest = (word.len() - start).min(self.vocabulary.longest);
            let found = (1..=longest).rev().find_map(|length| {
                piece.clear();
                piece.extend(word[start..start + length].iter().map(|letter| letter.character));
                table.get(piece.as_str()).map(|&id| (id, length))
            });
            let Some((id, length)) = found else { break };
            encoded.ids.push(id);
            encoded.spans.push(word[start].span.start..word[start + length - 1].span.end);
            start += length;
        }
        if start < word.len() {
            encoded.ids.truncate(kept);
            encoded.spans.truncate(kept);
            encoded.ids.push(self.vocabulary.special.unknown);
            encoded.spans.push(first.span.start..last.span.end);
        }
    }
}

fn next_special(text: &str, from: usize) -> Option<(usize, &'static str)> {
    let mut search = from;
    while let Some(place) = text[search..].find('[').map(|at| at + search) {
        if let Some(token) = SPECIAL.iter().find(|token| text[place..].starts_with(**token)) {
            return Some((place, token));
        }
        search = place + 1;
    }
    None
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Space,
    Punctuation,
    Other,
}

/// A character after clean-up, and the bytes of the text it came from.
#[derive(Debug, Clone)]
struct Letter {
    character: char,
    kind: Kind,
    span: Range<usize>,
}

/// Clean-up, CJK spacing, accent stripping and lower-casing in one pass.
///
/// NFD is taken character by character: canonical decomposition never looks at neighbours, and the reordering of marks
/// that would does not matter, since all marks of class Mn are dropped.
fn normalise(text: &str, offset: usize) -> Vec<Letter> {
    let mut letters = Vec::with_capacity(text.len());
    for (position, original) in text.char_indices() {
        if is_dropped(original) {
            continue;
        }
        let span = position + offset..position + offset + original.len_utf8();
        let mut push = |character: char, kind: Kind| letters.push(Letter { character, kind, span: span.clone() });
        if is_space(original) {
            push(' ', Kind::Space);
            continue;
        }
        let alone = is_cjk(original);
        if alone {
            push(' ', Kind::Space);
        }
        for part in std::iter::once(original).nfd() {
            if part.general_category() == GeneralCategory::NonspacingMark {
                continue;
            }
            for lower in part.to_lowercase() {
                push(lower, if is_punctuation(lower) { Kind::Punctuation } else { Kind::Other });
            }
        }
        if alone {
            push(' ', Kind::Space);
        }
    }
    letters
}

/// Control, format, private and unassigned characters, and the replacement character.
fn is_dropped(c: char) -> bool {
    let control = !matches!(c, '\t' | '\n' | '\r') && c.general_category_group() == GeneralCategoryGroup::Other;
    c == '\0' || c == '\u{fffd}' || control
}

fn is_space(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r') || c.is_whitespace()
}

fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation() || c.general_category_group() == GeneralCategoryGroup::Punctuation
}

fn is_cjk(c: char) -> bool {
    matches!(
        u32::from(c),
        0x4E00..=0x9FFF
            | 0x3400..=0x4DBF
            | 0x20000..=0x2A6DF
            | 0x2A700..=0x2B73F
            | 0x2B740..=0x2B81F
            | 0x2B920..=0x2CEAF
            | 0xF900..=0xFAFF
            | 0x2F800..=0x2FA1F
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_vocabulary_is_whole() {
        let words = WordPiece::bert_base_uncased();
        assert_eq!(words.len(), 30_522);
        assert_eq!(words.special(), SpecialIds { unknown: 100, start: 101, separator: 102 });
        assert_eq!((words.token(PAD), words.token(103)), (Some("[PAD]"), Some("[MASK]")));
    }

    #[test]
    fn spans_point_into_the_text() {
        let words = WordPiece::bert_base_uncased();
        let text = "Café giraffes";
        let encoded = words.encode(text);
        let pieces: Vec<_> = encoded.spans.iter().map(|span| &text[span.clone()]).collect();
        assert_eq!(pieces, ["", "Café", "gi", "raf", "fe", "s", ""]);
        assert_eq!(words.tokenize(text), ["cafe", "gi", "##raf", "##fe", "##s"]);
    }

    #[test]
    fn both_truncations() {
        let words = WordPiece::bert_base_uncased();
        let encoded = words.encode("the left red cup");
        assert_eq!(encoded.clone().fitted(4, Truncation::Cut).ids, [101, 1996, 2187, 2417]);
        assert_eq!(encoded.clone().fitted(4, Truncation::KeepSeparator).ids, [101, 1996, 2187, 102]);
        assert_eq!(encoded.clone().fitted(6, Truncation::Cut), encoded);
        let (ids, mask) = words.encode("").padded(4);
        assert_eq!((ids, mask), (vec![101, 102, 0, 0], vec![true, true, false, false]));
    }

    #[test]
    fn broken_vocabularies_are_errors() {
        let missing = WordPiece::parse("[PAD]\n[UNK]\n[CLS]\ncup", "v.txt").unwrap_err();
        assert!(missing.to_string().starts_with("v.txt: token \"[SEP]\" is missing"), "{missing}");
        let twice = WordPiece::parse("[PAD]\ncup\ncup", "v.txt").unwrap_err();
        assert!(twice.to_string().starts_with("v.txt:3: token \"cup\" stands here and on line 2"), "{twice}");
    }
}
