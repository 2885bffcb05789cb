//! Erasing a noun phrase from a tokenised sentence, for DMMI's context clue recovery.
//!
//! Source: specification of DMMI, Sec. 8.1 there. The erased id is `[PAD]` (0), not `[MASK]`; the attention mask stays.

use super::nouns::{MAX_WORD_INDEX, NounTagger, Word, noun_runs};
use super::wordpiece::{Encoded, PAD};

/// Which ids stand for a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EraseMode {
    /// Every piece whose characters lie in a word of the run.
    #[default]
    Aligned,
    /// PARITY: word `i` is id `i + 1`, as the released program has it. Wrong as soon as a word has several pieces or punctuation
    /// stands before it; kept for people who reproduce its training.
    Reference,
}

/// The ids with one run of words erased. `words` are the sentence's words in order, `run` positions among them.
///
/// `encoded` is the sentence cut to the model's length but not padded; places past its end are skipped.
pub fn erase_run(encoded: &Encoded, words: &[Word], run: &[usize], mode: EraseMode) -> Vec<u32> {
    let mut ids = encoded.ids.clone();
    match mode {
        EraseMode::Reference => {
            for &position in run {
                if let Some(id) = ids.get_mut(position + 1) {
                    *id = PAD;
                }
            }
        }
        EraseMode::Aligned => {
            let inside = |span: &std::ops::Range<usize>| {
                run.iter()
                    .filter_map(|&position| words.get(position))
                    .any(|word| !span.is_empty() && span.start >= word.span.start && span.end <= word.span.end)
            };
            for (id, span) in ids.iter_mut().zip(&encoded.spans) {
                if inside(span) {
                    *id = PAD;
                }
            }
        }
    }
    ids
}

/// Every way to erase one noun phrase of a sentence; the sentence unchanged if it has none.
pub fn erasures(phrase: &str, encoded: &Encoded, tagger: &dyn NounTagger, mode: EraseMode) -> Vec<Vec<u32>> {
    let tagged = tagger.tag(phrase);
    let runs = noun_runs(&tagged, MAX_WORD_INDEX);
    if runs.is_empty() {
        return vec![encoded.ids.clone()];
    }
    let words: Vec<Word> = tagged.into_iter().map(|(word, _)| word).collect();
    runs.iter().map(|run| erase_run(encoded, &words, run, mode)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::nouns::RuleTagger;
    use super::super::wordpiece::{Truncation, WordPiece};
    use super::*;

    fn erased(phrase: &str, mode: EraseMode) -> Vec<Vec<u32>> {
        let encoded = WordPiece::bert_base_uncased().encode(phrase).fitted(20, Truncation::Cut);
        erasures(phrase, &encoded, &RuleTagger::default(), mode)
    }

    #[test]
    fn aligned_erasing_takes_whole_words() {
        // "giraffes" is three pieces, "(far right)" puts a bracket in front of "umbrella".
        assert_eq!(erased("giraffes", EraseMode::Aligned), [vec![101, 0, 0, 0, 0, 102]]);
        let phrase = "woman (far right) with umbrella";
        let last = &erased(phrase, EraseMode::Aligned)[1];
        assert_eq!(last[..], [101, 2450, 1006, 2521, 2157, 1007, 2007, 0, 102]);
        let released = &erased(phrase, EraseMode::Reference)[1];
        assert_eq!(released[..], [101, 2450, 1006, 2521, 2157, 0, 2007, 12977, 102]);
    }

    #[test]
    fn nothing_to_erase_changes_nothing() {
        assert_eq!(erased("bottom right", EraseMode::Aligned), [vec![101, 3953, 2157, 102]]);
    }
}
