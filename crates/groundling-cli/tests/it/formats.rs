//! What docs/formats.md shows is what the readers read.

use std::path::Path;

use groundling_data::readers::jsonl;
use groundling_eval::records::{ReadLimits, read_predictions, read_truths};
use groundling_testkit::repository;

/// The blocks of JSON lines of a page, in order.
fn blocks(page: &str) -> Vec<String> {
    let parts = page.split("```jsonl\n").skip(1);
    parts.map(|part| part.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn every_example_is_read() {
    let page = std::fs::read_to_string(repository().join("docs/formats.md")).unwrap();
    let blocks = blocks(&page);
    let [data, predictions, truths] = blocks.as_slice() else { panic!("{} blocks on the page", blocks.len()) };
    let dataset = jsonl::parse(data.as_bytes(), Path::new("formats.md")).unwrap();
    assert_eq!((dataset.samples.len(), dataset.images.len(), dataset.annotations.len()), (5, 2, 5));
    let mask = dataset.annotation_mask(3, groundling_data::MaskRule::Union).unwrap().unwrap();

    let limits = ReadLimits::default();
    let predictions = read_predictions(predictions.as_bytes(), "formats.md", &limits).unwrap();
    let truths = read_truths(truths.as_bytes(), "formats.md", &limits).unwrap();
    assert_eq!((predictions.len(), truths.len()), (2, 2));
    // The three ways to write the spoon's mask mean the same pixels.
    assert_eq!(predictions[0].prediction.targets[0].mask.as_ref(), Some(&mask));
    assert_eq!(truths[0].truth.targets[0].mask.as_ref(), Some(&mask));
    let samples = groundling_eval::records::join(truths, predictions, Default::default()).unwrap();
    assert_eq!(samples.len(), 2);
}
