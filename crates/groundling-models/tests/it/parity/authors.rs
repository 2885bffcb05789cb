//! Checkpoints as the authors' training programs save them, of the tiny presets: everything has a place, and what is damaged is named.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Distribution, Tensor};
use groundling_core::ContentRect;
use groundling_models::backbone::BackboneConfig;
use groundling_models::contract::{GroundOptions, Layout, System, Trainable};
use groundling_models::dmmi::{Dmmi, DmmiConfig};
use groundling_models::qrnet::{QrNet, QrNetConfig};
use groundling_models::transvg::{TransVg, TransVgConfig};
use groundling_models::vltvg::{Vltvg, VltvgConfig};
use groundling_nn::checkpoint::{Checkpoint, CheckpointError, Limits, Report, StoredTensor, load_into, parameters};
use groundling_testkit::torch::{Entry, Numbers, authors_entries, authors_list, training_checkpoint};
use groundling_testkit::{fill, repository, scratch};

use super::bases::Keys;

/// What is saved beside weights: indices that follow from the sizes.
fn is_index(name: &str) -> bool {
    name.ends_with(".relative_position_index") || name.ends_with(".position_ids")
}

/// The list of a tiny preset as the names of the reference make it.
fn list_of(keys: Keys) -> String {
    let line = |(name, shape): (String, Vec<usize>)| {
        let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
        let kind = if is_index(&name) { "int64" } else { "float32" };
        format!("{name}\t{}\t{kind}\n", sizes.join("x"))
    };
    keys.into_iter().map(line).collect()
}

/// The lists belong to the same functions whose full-size lists are those of the fixtures.
#[test]
fn the_lists_are_those_of_the_reference() {
    let mut qrnet = super::qrnet::keys(&QrNetConfig::tiny());
    qrnet.push(("textmodel.bert.embeddings.position_ids".to_owned(), vec![1, QrNetConfig::tiny().bert.positions]));
    for (system, keys) in [
        (TransVg::NAME, super::transvg::keys(&TransVgConfig::tiny())),
        (Vltvg::NAME, super::vltvg::keys(&VltvgConfig::tiny())),
        (QrNet::NAME, qrnet),
    ] {
        let path = authors_list(system);
        let listed = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(listed, list_of(keys), "{}", path.display());
    }
}

fn write(name: &str, entries: &[Entry]) -> PathBuf {
    let path = scratch(&format!("authors-{name}")).join("checkpoint.pth");
    std::fs::write(&path, training_checkpoint(entries)).unwrap();
    path
}

/// Loads a file into a fresh tiny model, by the layout of this name or the first whose marker is there.
fn load<M: System>(config: &M::Config, path: &Path, layout: &str) -> Result<(M, Report), CheckpointError> {
    let checkpoint = Checkpoint::open(path, &Limits::default())?;
    let layouts = M::layouts(config);
    let there = |layout: &&Layout| checkpoint.tensors().keys().any(|name| name.starts_with(layout.marker));
    let found = layouts.iter().find(there).unwrap();
    assert_eq!(found.name, layout, "told by the names");
    load_into(M::init(config, &Device::flex()).unwrap(), &checkpoint, &found.rules)
}

/// Every parameter of a module by its name.
fn values<M: Module>(module: &M) -> BTreeMap<String, Vec<f32>> {
    #[derive(Default)]
    struct Collect(Vec<Vec<f32>>);
    impl ModuleVisitor for Collect {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(param.val().into_data().try_to_vec::<f32>().unwrap());
        }
    }
    let mut collect = Collect::default();
    module.visit(&mut collect);
    parameters(module).into_iter().map(|info| info.name).zip(collect.0).collect()
}

fn whole_and_damaged<M: System>(config: &M::Config) {
    let entries = authors_entries(M::NAME);
    let whole = write(M::NAME, &entries);
    let (model, report) = load::<M>(config, &whole, "official").unwrap();
    assert!(report.is_complete() && report.kept.is_empty(), "{}: {report}", M::NAME);
    assert_eq!(report.loaded, parameters(&model).len(), "{}", M::NAME);
    // The same tensors, handed over without a file.
    let handed = entries.iter().filter_map(|entry| match &entry.numbers {
        Numbers::Float(values) => {
            Some((entry.name.clone(), StoredTensor::from_values(entry.shape.clone(), values.clone())))
        }
        Numbers::Long(_) => None,
    });
    let rules = M::layouts(config).swap_remove(0).rules;
    let other = M::init(config, &Device::flex()).unwrap();
    let (other, _) = load_into(other, &Checkpoint::from_tensors(handed), &rules).unwrap();
    assert_eq!(values(&model), values(&other), "{}", M::NAME);
    // A bias is neither transposed nor cut: it is what the rule of the fixtures says.
    let bias = "bbox_embed.layers.1.bias";
    let ours = values(&model).into_iter().find(|(name, _)| name.ends_with("bbox.layers.1.bias")).unwrap().1;
    assert_eq!(ours, fill::parameter(bias, &[ours.len()], 0).to_f32());

    let matrix = entries.iter().position(|entry| entry.name.ends_with("encoder.layers.1.linear2.weight")).unwrap();
    let packed = entries.iter().position(|entry| entry.name.ends_with("layers.0.self_attn.in_proj_weight")).unwrap();
    for (what, index) in [("a matrix", matrix), ("a packed one", packed)] {
        let name = entries[index].name.clone();
        let (mut cut, mut lost, mut wide) = (entries.clone(), entries.clone(), entries.clone());
        let Numbers::Float(numbers) = &mut cut[index].numbers else { panic!("{name} is no weight") };
        numbers.truncate(numbers.len() / 2);
        lost.remove(index);
        let [rows, columns] = wide[index].shape[..] else { panic!("{name} is no matrix") };
        wide[index] = Entry::filled(name.clone(), &[rows, columns + 1]);
        let ours = &name[name.find("layers").unwrap()..].replace("in_proj_weight", "");
        for (damage, entries, named) in [("cut", &cut, &name), ("lost", &lost, ours), ("wide", &wide, &name)] {
            let path = write(&format!("{}-{damage}", M::NAME), entries);
            let error = load::<M>(config, &path, "official").err().unwrap_or_else(|| panic!("{damage}: it loaded"));
            let said = error.to_string();
            assert!(said.contains(named.as_str()), "{}, {what}, {damage}: {said}", M::NAME);
        }
    }
}

#[test]
fn whole_checkpoints_load_and_damaged_ones_name_the_tensor() {
    let _alone = crate::support::alone();
    whole_and_damaged::<TransVg>(&TransVgConfig::tiny());
    whole_and_damaged::<Vltvg>(&VltvgConfig::tiny());
    whole_and_damaged::<QrNet>(&QrNetConfig::tiny());
}

/// What training starts from comes in two files, one for the picture and one for the phrase.
#[test]
fn two_files_one_after_the_other() {
    let _alone = crate::support::alone();
    let config = TransVgConfig::tiny();
    let entries = authors_entries(TransVg::NAME);
    let part = |from: &str, to: &str| -> Vec<Entry> {
        let part =
            entries.iter().filter_map(|entry| Some(entry.named(format!("{to}{}", entry.name.strip_prefix(from)?))));
        part.collect()
    };
    let mut detr = part("visumodel.", "");
    detr.push(Entry::filled("class_embed.bias", &[92]));
    detr.push(Entry::filled("transformer.decoder.norm.weight", &[48]));
    let mut bert = part("textmodel.bert.", "bert.");
    bert.push(Entry::filled("cls.predictions.bias", &[30522]));
    let (whole, _) = load::<TransVg>(&config, &write("whole", &entries), "official").unwrap();
    let whole = values(&whole);

    let (model, report) = load::<TransVg>(&config, &write("detr", &detr), "detr").unwrap();
    assert!(report.kept.iter().all(|(name, _)| !name.starts_with("visual.")), "{report}");
    let checkpoint = Checkpoint::open(write("bert", &bert), &Limits::default()).unwrap();
    let bert_rules = TransVg::layouts(&config).into_iter().find(|layout| layout.name == "bert").unwrap().rules;
    let (model, report) = load_into(model, &checkpoint, &bert_rules).unwrap();
    assert!(report.kept.iter().all(|(name, _)| !name.starts_with("text.")), "{report}");
    let read = |name: &str| name.starts_with("visual.") || name.starts_with("text.");
    let found = values(&model);
    let kept: Vec<&String> = found.keys().filter(|name| read(name) && found[*name] != whole[*name]).collect();
    assert!(kept.is_empty() && found.keys().any(|name| name.starts_with("text.")), "{kept:?}");
}

/// Reads our detector and compares what came of it with the file: all of the backbone, and nothing else.
fn with_backbone<M: System>(config: &M::Config, prefix: &str) -> M {
    let path = repository().join("weights/focus-detr-tiny/model.safetensors");
    let (model, report) = load::<M>(config, &path, "focus-detr").unwrap();
    assert!(report.is_complete(), "{report}");
    let kept: BTreeSet<&String> = report.kept.iter().map(|(name, _)| name).collect();
    let file = Checkpoint::open(&path, &Limits::default()).unwrap();
    let found = values(&model);
    let mut count = 0;
    for info in parameters(&model) {
        let name = info.name.strip_prefix(prefix).filter(|name| name.starts_with("backbone."));
        assert_eq!(name.is_some(), !kept.contains(&info.name), "{}", info.name);
        if let Some(name) = name {
            count += 1;
            // Linear layers lie the other way round in files; the numbers of the others are compared one by one.
            let (mut ours, mut theirs) = (found[&info.name].clone(), file.tensors()[name].read_f32().unwrap());
            if info.shape.len() == 2 {
                ours.sort_by(f32::total_cmp);
                theirs.sort_by(f32::total_cmp);
            }
            assert_eq!(ours, theirs, "{name}");
        }
    }
    assert!(count > 80, "{count} tensors");
    model
}

/// Or a detector of this program, of which the backbone is read.
#[test]
fn a_detector_of_ours_gives_its_backbone() {
    let _alone = crate::support::alone();
    fn check<M: System>(config: &M::Config) {
        let model = with_backbone::<M>(config, "visual.");
        let device = Device::flex();
        device.seed(4);
        let canvas = Tensor::<4>::random([1, 3, 128, 128], Distribution::Uniform(-1.0, 1.0), &device);
        let view = model.read_canvas(canvas, ContentRect { top: 0, left: 0, height: 128, width: 128 });
        let options = GroundOptions { attention: true, ..GroundOptions::default() };
        let grounded = model.ground(&model.read_phrase(&[101, 2417, 4524, 102]), &view, &options).unwrap();
        assert_eq!(grounded.trace.unwrap().grids, [[8, 8]], "{}: cells of 16 pixels", M::NAME);
        assert_eq!(grounded.targets.len(), 1);
    }
    let detector = std::fs::read_to_string(repository().join("weights/focus-detr-tiny/config.json")).unwrap();
    let detector: serde_json::Value = serde_json::from_str(&detector).unwrap();
    let backbone: BackboneConfig = serde_json::from_value(detector["config"]["backbone"].clone()).unwrap();
    check::<TransVg>(&TransVgConfig { backbone: backbone.clone(), stage: 2, placed: true, ..TransVgConfig::tiny() });
    check::<Vltvg>(&VltvgConfig { backbone, stage: 2, placed: true, ..VltvgConfig::tiny() });
    let mut dmmi = serde_json::to_value(DmmiConfig::tiny()).unwrap();
    for field in ["embed_dim", "depths", "heads", "window"] {
        dmmi["backbone"][field] = detector["config"]["backbone"]["swin"][field].clone();
    }
    with_backbone::<Dmmi>(&serde_json::from_value(dmmi).unwrap(), "network.");
}
