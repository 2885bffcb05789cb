mod refer_mini;

use groundling_core::BinaryMask;
use groundling_core::ImageSize;
use groundling_data::image::preprocess::Preprocessor;
use groundling_data::image::resize::resize;
use groundling_data::sampler::{interleave_zero, share_of_rank};
use groundling_data::text::erase::{EraseMode, erase_run};
use groundling_data::text::nouns::{NounTagger, RuleTagger, Word, noun_runs};
use groundling_data::text::wordpiece::{Truncation, WordPiece};
use groundling_testkit::goldens::{read_json, visible_root};
use groundling_testkit::{Array, Folder};
use serde::Deserialize;
use serde_json::Value;

use super::{array, picture};

#[derive(Deserialize)]
struct Prepare {
    image_size: u32,
    mean: [f32; 3],
    std: [f32; 3],
}

#[test]
fn preprocessing() {
    for case in Folder::open("dmmi").of_kinds(&["preprocess"], 5) {
        let config: Prepare = case.config();
        let image = picture(&case.input("image"));
        let values = case.input("mask");
        let size = ImageSize::new(values.shape[0] as u32, values.shape[1] as u32).unwrap();
        let mask = BinaryMask::from_pixels(size, values.data.iter().map(|&v| v == 1.0).collect()).unwrap();

        let preprocessor = Preprocessor { mean: config.mean, std: config.std, ..Preprocessor::dmmi(config.image_size) };
        let prepared = preprocessor.prepare(&image).unwrap();
        let square = prepared.placement.canvas();
        let resized = resize(&image, square, preprocessor.filter);
        let mask = Preprocessor::mask_to_model(&mask, &prepared.placement).unwrap();

        let side = config.image_size as usize;
        let mut report = case.report();
        report.check("resized_u8", &array(&resized));
        let bits: Vec<u8> = mask.pixels().iter().map(|&p| u8::from(p)).collect();
        report.check("mask_u8", &Array::from_values([side, side], &bits));
        report.check("tensor", &Array::from_values([3, side, side], &prepared.pixels));
        let mut sums: Vec<f64> = (0..3).map(|c| resized.pixels().map(|pixel| f64::from(pixel.0[c])).sum()).collect();
        sums.push(mask.area() as f64);
        report.check("sums", &Array::new([4], sums));
        report.finish();
    }
}

#[derive(Deserialize)]
struct Erasure {
    text: String,
    tags: Vec<(String, String)>,
    runs: Vec<Vec<usize>>,
    ids: Vec<u32>,
    mask: Vec<u8>,
    results: Vec<Erased>,
}

#[derive(Deserialize)]
struct Erased {
    run: Option<usize>,
    ids_masked: Vec<u32>,
}

#[test]
fn phrase_erasing() {
    let vocabulary = WordPiece::from_file(&visible_root().join("bert/vocab.txt")).unwrap();
    for case in Folder::open("dmmi").of_kinds(&["phrase_erasing"], 1) {
        let mode = match case.json["config"]["mode"].as_str() {
            Some("reference") => EraseMode::Reference,
            Some("aligned") => EraseMode::Aligned,
            other => panic!("{}: mode {other:?}", case.name()),
        };
        let length = case.json["config"]["max_len"].as_u64().unwrap() as usize;
        let rows: Vec<Erasure> = serde_json::from_value(case.file_json()).unwrap();
        assert!(!rows.is_empty());
        for row in rows {
            let place = format!("{:?}", row.text);
            let encoded = vocabulary.encode(&row.text).fitted(length, Truncation::Cut);
            let (ids, mask) = encoded.padded(length);
            assert_eq!(ids, row.ids, "{place}");
            assert_eq!(mask.iter().map(|&m| u8::from(m)).collect::<Vec<_>>(), row.mask, "{place}");
            let tagged: Vec<((), bool)> =
                row.tags.iter().map(|(_, tag)| ((), matches!(tag.as_str(), "NN" | "NNS"))).collect();
            let runs = noun_runs(&tagged, length - 1);
            assert_eq!(runs, row.runs, "{place}");
            let words = located(&row.text, row.tags.iter().map(|(word, _)| word.as_str()));
            for result in &row.results {
                let run = result.run.map_or(&[][..], |run| &runs[run]);
                let mut erased = erase_run(&encoded, &words, run, mode);
                erased.resize(length, 0);
                assert_eq!(erased, result.ids_masked, "{place} run {:?}", result.run);
            }
            assert_eq!(row.results.len(), runs.len().max(1), "{place}");
        }
    }
}

/// Words of a hand-tagged sentence with their places: each is looked for behind the one before it.
fn located<'a>(text: &str, words: impl Iterator<Item = &'a str>) -> Vec<Word> {
    let mut from = 0;
    words
        .map(|word| {
            let start = text[from..].find(word).map_or(from, |place| from + place);
            from = (start + word.len()).min(text.len());
            Word { text: word.to_lowercase(), span: start..from }
        })
        .collect()
}

#[derive(Deserialize)]
struct Sampled {
    zero_ids: Vec<i64>,
    other_ids: Vec<i64>,
    dataset_order: Vec<i64>,
    interleaved: Vec<i64>,
    positions: Vec<usize>,
    num_replicas: usize,
    per_rank: Vec<Vec<usize>>,
}

#[test]
fn zero_sampler() {
    for case in Folder::open("dmmi").of_kinds(&["zero_sampler"], 1) {
        let rows: Vec<Sampled> = serde_json::from_value(case.file_json()).unwrap();
        assert!(!rows.is_empty());
        for row in rows {
            let order = interleave_zero(&row.zero_ids, &row.other_ids);
            assert_eq!(order, row.interleaved);
            let place = |id: &i64| row.dataset_order.iter().position(|other| other == id).unwrap();
            let positions: Vec<usize> = order.iter().map(place).collect();
            assert_eq!(positions, row.positions);
            for rank in 0..row.num_replicas {
                assert_eq!(share_of_rank(&positions, rank, row.num_replicas), row.per_rank[rank], "rank {rank}");
            }
        }
    }
}

#[derive(Deserialize)]
struct Rules {
    closed_class: Vec<String>,
    ing_nouns: Vec<String>,
    ly_nouns: Vec<String>,
    ed_nouns: Vec<String>,
    strip_punctuation: String,
    max_word_index_exclusive: usize,
}

#[derive(Deserialize)]
struct Tagged {
    text: String,
    words: Vec<String>,
    noun_runs: Vec<Vec<usize>>,
}

#[test]
fn noun_rules() {
    for case in Folder::open("dmmi").of_kinds(&["noun_rules"], 1) {
        let config = &case.json["config"];
        let text = |key: &str| config[key].as_str().unwrap();
        let rules: Value = read_json(&visible_root().join(text("rules_file")))[text("rules_key")].clone();
        let rules: Rules = serde_json::from_value(rules).unwrap();
        let limit = rules.max_word_index_exclusive;
        let strip = rules.strip_punctuation;
        let given = RuleTagger::new(rules.closed_class, rules.ing_nouns, rules.ly_nouns, rules.ed_nouns, strip);
        let rows: Vec<Tagged> = serde_json::from_value(case.file_json()).unwrap();
        assert!(!rows.is_empty());
        // The lists in the program are those of the fixture, so both taggers must agree on every row.
        for tagger in [&given, &RuleTagger::default()] {
            for row in &rows {
                let tagged = tagger.tag(&row.text);
                let words: Vec<&str> = tagged.iter().map(|(word, _)| word.text.as_str()).collect();
                assert_eq!(words, row.words, "{:?}", row.text);
                assert_eq!(noun_runs(&tagged, limit), row.noun_runs, "{:?}", row.text);
            }
        }
    }
}
