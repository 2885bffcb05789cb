//! Checkpoints of the authors of TransVG, VLTVG and QRNet: what they tell, and that nothing of them is missing or left over.

use std::collections::BTreeMap;

use groundling::systems::{Import, deduced};
use groundling_nn::checkpoint::{Checkpoint, StoredTensor};
use groundling_testkit::fixtures;

/// Names and shapes of a released checkpoint; its numbers are never made.
fn released(list: &str) -> BTreeMap<String, Vec<usize>> {
    let text = std::fs::read_to_string(fixtures().join("goldens").join(list)).unwrap();
    let tensor = |line: &str| {
        let mut fields = line.split('\t');
        let (name, shape) = (fields.next().unwrap(), fields.next().unwrap());
        (name.to_owned(), shape.split('x').filter_map(|side| side.parse().ok()).collect())
    };
    text.lines().map(tensor).collect()
}

fn checkpoint(shapes: &BTreeMap<String, Vec<usize>>) -> Checkpoint {
    let tensor = |(name, shape): (&String, &Vec<usize>)| {
        (name.clone(), StoredTensor::from_fn(shape.clone(), || unreachable!("only names and shapes are read")))
    };
    Checkpoint::from_tensors(shapes.iter().map(tensor))
}

#[test]
fn released_checkpoints_tell_their_sizes_and_fit() {
    for (system, list, preset, max_text) in [
        ("transvg", "transvg/keys_r50.tsv", "r50", 20),
        ("vltvg", "vltvg/keys_r50.tsv", "r50", 40),
        ("qrnet", "qrnet/keys.tsv", "swin_s", 20),
    ] {
        let mut shapes = released(list);
        let found = checkpoint(&shapes);
        let (name, config) = deduced(system, &found).unwrap();
        assert_eq!((name, config["max_text"].as_u64()), (preset, Some(max_text)), "{system}");
        let import = Import { system, config: &config, checkpoint: &found, layout: None, seed: 0 };
        let plan = import.plan().unwrap();
        assert!(plan.layout == "official" && plan.report.is_complete(), "{system}: {}", plan.report);

        // One tensor of another shape, one missing, one that nobody knows: each is named.
        let (first, second) = ("bbox_embed.layers.0.weight", "bbox_embed.layers.2.bias");
        shapes.insert(first.to_owned(), vec![256, 255]);
        shapes.remove(second).unwrap();
        shapes.insert("bbox_embed.layers.9.weight".to_owned(), vec![1]);
        let damaged = checkpoint(&shapes);
        let report = Import { checkpoint: &damaged, ..import }.plan().unwrap().report;
        assert!(!report.is_complete());
        let wrong = &report.wrong_shape[0];
        assert_eq!((wrong.tensor.as_str(), &wrong.found), (first, &vec![256, 255]), "{system}");
        assert_eq!(
            (report.missing.len(), report.unused.as_slice()),
            (1, ["bbox_embed.layers.9.weight".to_owned()].as_slice())
        );
    }
}

#[test]
fn longer_phrases_and_deeper_backbones_are_told_by_shapes() {
    let mut shapes = released("transvg/keys_r50.tsv");
    shapes.insert("vl_pos_embed.weight".to_owned(), vec![441, 256]);
    for block in 6..23 {
        shapes.insert(format!("visumodel.backbone.0.body.layer3.{block}.conv1.weight"), vec![256, 1024, 1, 1]);
    }
    let (preset, config) = deduced("transvg", &checkpoint(&shapes)).unwrap();
    assert_eq!((preset, config["max_text"].as_u64()), ("r101", Some(40)));
    // One block more is neither; and no other system is told by these names.
    shapes.insert("visumodel.backbone.0.body.layer3.23.conv1.weight".to_owned(), vec![256, 1024, 1, 1]);
    assert!(deduced("transvg", &checkpoint(&shapes)).is_none());
    assert!(["vltvg", "qrnet", "dmmi", "nobody"].iter().all(|system| deduced(system, &checkpoint(&shapes)).is_none()));
}
