//! Words and noun runs of an English referring expression, by rule.
//!
//! A word is a noun unless a closed list or its ending says otherwise; consecutive nouns form a run ("bus stop sign").
//! Good enough to choose phrases to erase in training (see [`erase`](super::erase)); it is no general tagger. Known limits: unlisted
//! adjectives and verbs count as nouns ("elderly woman" is one run), colours used as nouns do not ("the man in red"),
//! and it knows English only.
//!
//! Source: specification of DMMI (arXiv:2308.13853), Sec. 8.1 there.

use std::ops::Range;

/// A word of a phrase and the bytes it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Lower-cased, stripped of punctuation.
    pub text: String,
    /// Bytes of the original text.
    pub span: Range<usize>,
}

/// Says of each word of a sentence whether it is a noun. Implement it to bring your own tagger.
pub trait NounTagger {
    /// The words of `phrase` in order, and for each whether it is a noun.
    fn tag(&self, phrase: &str) -> Vec<(Word, bool)>;
}

/// Positions of consecutive nouns among the first `limit` words, run by run.
pub fn noun_runs<W>(tagged: &[(W, bool)], limit: usize) -> Vec<Vec<usize>> {
    let nouns: Vec<usize> = (0..tagged.len().min(limit)).filter(|&i| tagged[i].1).collect();
    nouns.chunk_by(|a, b| a + 1 == *b).map(<[usize]>::to_vec).collect()
}

/// The built-in tagger: word lists and endings.
#[derive(Debug, Clone)]
pub struct RuleTagger {
    closed_class: Vec<String>,
    ing_nouns: Vec<String>,
    ly_nouns: Vec<String>,
    ed_nouns: Vec<String>,
    strip: String,
}

/// Words past this position are never erased: 20 ids minus `[CLS]`.
pub const MAX_WORD_INDEX: usize = 19;

impl Default for RuleTagger {
    /// English, with the lists in `nouns.txt`.
    fn default() -> Self {
        let mut lists: [Vec<String>; 4] = Default::default();
        let mut current = 0;
        for line in include_str!("nouns.txt").lines().filter(|line| !line.starts_with('#')) {
            match line {
                "[closed_class]" => current = 0,
                "[ing_nouns]" => current = 1,
                "[ly_nouns]" => current = 2,
                "[ed_nouns]" => current = 3,
                words => lists[current].extend(words.split_whitespace().map(str::to_owned)),
            }
        }
        let [closed_class, ing_nouns, ly_nouns, ed_nouns] = lists;
        Self::new(closed_class, ing_nouns, ly_nouns, ed_nouns, ".,;:!?\"()[]{}<>…/\\|*&#@~`“”‘’".to_owned())
    }
}

impl RuleTagger {
    /// From word lists: words that are no nouns, and nouns in -ing, -ly and -ed; `strip` is the punctuation taken off words.
    pub fn new(
        closed_class: Vec<String>,
        ing_nouns: Vec<String>,
        ly_nouns: Vec<String>,
        ed_nouns: Vec<String>,
        strip: String,
    ) -> Self {
        let sorted = |mut list: Vec<String>| {
            list.sort_unstable();
            list
        };
        Self {
            closed_class: sorted(closed_class),
            ing_nouns: sorted(ing_nouns),
            ly_nouns: sorted(ly_nouns),
            ed_nouns: sorted(ed_nouns),
            strip,
        }
    }

    /// Splits a phrase into words: white space and `/` divide, punctuation is stripped from both ends, a final `'s` or
    /// `n't` becomes a word of its own.
    pub fn words(&self, phrase: &str) -> Vec<Word> {
        let mut words = Vec::new();
        let divides = |c: char| c.is_whitespace() || c == '/';
        let mut start = None;
        for (position, c) in phrase.char_indices().chain([(phrase.len(), ' ')]) {
            match (divides(c), start) {
                (false, None) => start = Some(position),
                (true, Some(first)) => {
                    self.push_word(phrase, first..position, &mut words);
                    start = None;
                }
                _ => {}
            }
        }
        words
    }

    fn push_word(&self, phrase: &str, span: Range<usize>, words: &mut Vec<Word>) {
        let stripped = |c: char| c == '\'' || c == '’' || self.strip.contains(c);
        let raw = &phrase[span.clone()];
        let start = span.start + raw.len() - raw.trim_start_matches(stripped).len();
        let raw = raw.trim_matches(stripped);
        if raw.is_empty() {
            return;
        }
        let text = raw.to_lowercase().replace('’', "'");
        for clitic in ["'s", "n't"] {
            let Some(stem) = text.strip_suffix(clitic).filter(|stem| !stem.is_empty()) else { continue };
            // Counted in characters from the end, since lower-casing may change the number of bytes.
            let cut = raw.char_indices().rev().nth(clitic.chars().count() - 1).map_or(0, |(i, _)| i);
            words.push(Word { text: stem.to_owned(), span: start..start + cut });
            words.push(Word { text: clitic.to_owned(), span: start + cut..start + raw.len() });
            return;
        }
        words.push(Word { span: start..start + raw.len(), text });
    }

    /// Whether a word, lower-case and stripped, counts as a noun.
    pub fn is_noun(&self, word: &str) -> bool {
        let listed = |list: &[String], word: &str| list.binary_search_by(|entry| entry.as_str().cmp(word)).is_ok();
        if word == "'s" || word == "n't" || listed(&self.closed_class, word) {
            return false;
        }
        let word = word.rsplit_once('-').map_or(word, |(_, last)| last);
        let starts_with_digit = word.chars().next().is_some_and(|c| c.is_numeric());
        if !word.chars().any(char::is_alphabetic) || starts_with_digit || listed(&self.closed_class, word) {
            return false;
        }
        let length = word.chars().count();
        let excluded = |ending: &str, longer_than: usize, nouns: &[String]| {
            length > longer_than && word.ends_with(ending) && !listed(nouns, word)
        };
        !(excluded("ing", 4, &self.ing_nouns) || excluded("ly", 3, &self.ly_nouns) || excluded("ed", 3, &self.ed_nouns))
    }
}

impl NounTagger for RuleTagger {
    fn tag(&self, phrase: &str) -> Vec<(Word, bool)> {
        let word = |word: Word| {
            let noun = self.is_noun(&word.text);
            (word, noun)
        };
        self.words(phrase).into_iter().map(word).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_point_at_the_words() {
        let text = "Man's (red) T-shirt/coat, DON’T";
        let words = RuleTagger::default().words(text);
        let pairs: Vec<_> = words.iter().map(|w| (w.text.as_str(), &text[w.span.clone()])).collect();
        assert_eq!(
            pairs,
            [
                ("man", "Man"),
                ("'s", "'s"),
                ("red", "red"),
                ("t-shirt", "T-shirt"),
                ("coat", "coat"),
                ("do", "DO"),
                ("n't", "N’T")
            ]
        );
    }

    #[test]
    fn runs_stop_at_the_limit() {
        let tagged: Vec<((), bool)> = [true, true, false, true, true].map(|noun| ((), noun)).into();
        assert_eq!(noun_runs(&tagged, 4), [vec![0, 1], vec![3]]);
    }
}
