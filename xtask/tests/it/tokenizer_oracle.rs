//! Our WordPiece against the `tokenizers` crate on thousands of generated strings.

use groundling_data::rng::Rng;
use groundling_data::text::wordpiece::WordPiece;
use tokenizers::models::wordpiece::WordPiece as Model;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{Model as _, Tokenizer, TokenizerImpl};

fn oracle(vocabulary: &WordPiece) -> Tokenizer {
    let file = groundling_testkit::fixtures().join("goldens/bert/vocab.txt");
    let model = Model::builder().files(file.display().to_string()).unk_token("[UNK]".into()).build().unwrap();
    assert_eq!(model.get_vocab_size(), vocabulary.len());
    let mut tokenizer: Tokenizer = TokenizerImpl::<
        _,
        BertNormalizer,
        BertPreTokenizer,
        tokenizers::PostProcessorWrapper,
        tokenizers::DecoderWrapper,
    >::new(model)
    .into();
    let _ = tokenizer.with_normalizer(Some(BertNormalizer::new(true, true, Some(true), true)));
    let _ = tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer
}

/// Words of the vocabulary, letters of many scripts, punctuation, spaces, control characters, in random order.
fn text(rng: &mut Rng, vocabulary: &WordPiece) -> String {
    // Only ranges that every Unicode version since 8 assigns alike, so that two tables cannot disagree.
    const RANGES: [(u32, u32); 14] = [
        (0x00, 0x7f),
        (0x20, 0x7e),
        (0x61, 0x7a),
        (0xa0, 0x17f),
        (0x1e00, 0x1eff),
        (0x391, 0x3a1),
        (0x410, 0x44f),
        (0x5d0, 0x5ea),
        (0x622, 0x64a),
        (0x905, 0x939),
        (0x2010, 0x2027),
        (0x300, 0x36f),
        (0x4e00, 0x4fff),
        (0xac00, 0xacff),
    ];
    let mut text = String::new();
    for _ in 0..rng.below(12) {
        match rng.below(6) {
            0 | 1 => {
                let id = rng.below(vocabulary.len()) as u32;
                let token = vocabulary.token(id).unwrap();
                if !token.starts_with('[') {
                    text.push_str(token);
                }
            }
            2 => text.push([' ', '\t', '\n', '\u{a0}', '\u{3000}', '\u{2028}'][rng.below(6)]),
            3 => text.push_str(
                ["İstanbul", "ǅ", "ﬁn", "ß", "ΑΣ", "é", "e\u{301}", "½", "５", "🍕", "…", "’s"][rng.below(12)],
            ),
            _ => {
                let (lo, hi) = RANGES[rng.below(RANGES.len())];
                for _ in 0..1 + rng.below(6) {
                    text.extend(char::from_u32(rng.between(lo, hi)));
                }
            }
        }
        if rng.chance(0.4) {
            text.push(' ');
        }
    }
    text
}

#[test]
fn equal_on_generated_strings() {
    let ours = WordPiece::bert_base_uncased();
    let theirs = oracle(&ours);
    let mut rng = Rng::new(2026);
    let mut longest = 0;
    for index in 0..6000 {
        let text = text(&mut rng, &ours);
        let expected = theirs.encode(text.as_str(), false).unwrap();
        let found = ours.encode(&text);
        let pieces = &found.ids[1..found.ids.len() - 1];
        assert_eq!(
            pieces,
            expected.get_ids(),
            "string {index}: {text:?}\n{:?}\n{:?}",
            ours.tokenize(&text),
            expected.get_tokens()
        );
        longest = longest.max(pieces.len());
    }
    assert!(longest > 20, "the strings are too simple: at most {longest} pieces");
}
