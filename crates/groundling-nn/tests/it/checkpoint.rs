//! Import and export of modules: names, containers, types, and what the report says.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::nn::conv::Conv2dConfig;
use burn::nn::{LayerNormConfig, LinearConfig};
use burn::tensor::{Device, Tensor};
use groundling_nn::bert::{self, BertConfig};
use groundling_nn::checkpoint::{
    Checkpoint, CheckpointError, Limits, Piece, Precision, RESHAPE, Rule, StoredTensor, Weights, absent, adapt,
    distribute, ignore, load_into, parameters, plan, rename, save, split, within,
};
use groundling_nn::frozen_batch_norm::{Affine, FrozenBatchNorm};
use groundling_nn::resnet::{self, ResNetConfig};
use groundling_nn::swin::{self, SwinConfig};
use groundling_testkit::{goldens, scratch};

fn cpu() -> Device {
    Device::flex()
}

/// Layers of burn and of ours, in lists, options and tuples.
#[derive(Module, Debug)]
struct Zoo {
    linear: burn::nn::Linear,
    norm: burn::nn::LayerNorm,
    square: Vec<burn::nn::Linear>,
    pair: (burn::nn::conv::Conv2d, Option<FrozenBatchNorm>),
}

fn zoo() -> Zoo {
    let device = cpu();
    Zoo {
        linear: LinearConfig::new(3, 2).init(&device),
        norm: LayerNormConfig::new(2).init(&device),
        square: vec![LinearConfig::new(2, 2).with_bias(false).init(&device)],
        pair: (
            Conv2dConfig::new([2, 4], [1, 1]).with_bias(false).init(&device),
            Some(FrozenBatchNorm::new(4, 1e-5, Affine::Fixed, &device)),
        ),
    }
}

/// Tensors of these shapes that count up from 1.
fn counting(shapes: &[(&str, &[usize])]) -> Checkpoint {
    Checkpoint::from_tensors(shapes.iter().map(|&(name, shape)| {
        let count = shape.iter().product::<usize>();
        (name.to_owned(), StoredTensor::from_values(shape, (1..=count).map(|v| v as f32).collect()))
    }))
}

const ZOO: &[(&str, &[usize])] = &[
    ("linear.weight", &[2, 3]),
    ("linear.bias", &[2]),
    ("norm.weight", &[2]),
    ("norm.bias", &[2]),
    ("square.0.weight", &[2, 2]),
    ("pair.0.weight", &[4, 2, 1, 1]),
    ("pair.1.weight", &[4]),
    ("pair.1.bias", &[4]),
    ("pair.1.running_mean", &[4]),
    ("pair.1.running_var", &[4]),
];

fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.clone().into_data().try_to_vec().unwrap()
}

#[test]
fn names_and_layouts_are_those_of_pytorch() {
    let module = zoo();
    let expected: Vec<(String, Vec<usize>)> = ZOO.iter().map(|&(name, shape)| (name.into(), shape.to_vec())).collect();
    let found: Vec<(String, Vec<usize>)> =
        parameters(&module).into_iter().map(|info| (info.name, info.shape)).collect();
    assert_eq!(found, expected);
    let (module, report) = load_into(module, &counting(ZOO), &[]).unwrap();
    assert_eq!((report.loaded, report.loaded_numbers), (10, 2 * 3 + 2 + 2 + 2 + 4 + 8 + 4 * 4));
    assert_eq!(values(&module.linear.weight.val()), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    // A square matrix is transposed because it belongs to a linear layer.
    assert_eq!(values(&module.square[0].weight.val()), [1.0, 3.0, 2.0, 4.0]);
    assert_eq!(values(&module.norm.gamma.val()), [1.0, 2.0]);
}

#[test]
fn our_own_files_come_back_bit_for_bit() {
    let folder = scratch("own-files");
    let file = folder.join("zoo.safetensors");
    let (module, _) = load_into(zoo(), &counting(ZOO), &[]).unwrap();
    let module = Zoo { linear: LinearConfig::new(3, 2).init(&cpu()), ..module };
    let metadata = BTreeMap::from([("licence".to_owned(), "MIT".to_owned())]);
    save(&module, &file, Precision::F32, &metadata).unwrap();
    // Another reader of the format reads the same numbers.
    assert_eq!(goldens::tensor(&file, "square.0.weight").to_f32(), [1.0, 2.0, 3.0, 4.0]);
    let checkpoint = Checkpoint::open(&file, &Limits::default()).unwrap();
    assert_eq!(checkpoint.metadata()["licence"], "MIT");
    assert_eq!(checkpoint.metadata()["format"], "pt");
    let (back, report) = load_into(zoo(), &checkpoint, &[]).unwrap();
    assert!(report.converted.is_empty());
    let bits = |module: &Zoo| values(&module.linear.weight.val()).into_iter().map(f32::to_bits).collect::<Vec<_>>();
    assert_eq!(bits(&back), bits(&module));
    let again = folder.join("again.safetensors");
    save(&back, &again, Precision::F32, &metadata).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), std::fs::read(&again).unwrap());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2, "no temporary file is left");
}

#[test]
fn half_precision_rounds_all_but_statistics() {
    let file = scratch("half").join("zoo.safetensors");
    let (mut module, _) = load_into(zoo(), &counting(ZOO), &[]).unwrap();
    if let Some(norm) = &mut module.pair.1 {
        norm.running_var = burn::module::Param::from_data([1e-9, 1.0, 1.0, 1.0], &cpu());
    }
    save(&module, &file, Precision::F16, &BTreeMap::new()).unwrap();
    let (back, report) = load_into(zoo(), &Checkpoint::open(&file, &Limits::default()).unwrap(), &[]).unwrap();
    assert_eq!(report.converted.len(), 8);
    assert_eq!(values(&back.linear.weight.val()), values(&module.linear.weight.val()));
    assert_eq!(values(&back.pair.1.unwrap().running_var.val())[0], 1e-9);
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_and_leaves_nothing() {
    let folder = scratch("unwritable");
    let file = folder.join("no-such-folder/zoo.safetensors");
    let error = save(&zoo(), &file, Precision::F32, &BTreeMap::new()).unwrap_err();
    assert!(matches!(error, CheckpointError::Io { doing: "writing", .. }), "{error}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn what_does_not_fit_is_said_before_anything_is_loaded() {
    let mut shapes = ZOO.to_vec();
    shapes[0] = ("linear.weigth", &[2, 3]);
    shapes[2] = ("norm.weight", &[5]);
    shapes.push(("head.weight", &[7]));
    let checkpoint = counting(&shapes);
    let plan = plan(&zoo(), &checkpoint, &[]).unwrap();
    let report = plan.report();
    assert!(!report.is_complete());
    assert_eq!(report.missing, [("linear.weight".to_owned(), Some("linear.weigth".to_owned()))]);
    assert_eq!(report.unused, ["head.weight", "linear.weigth"]);
    assert_eq!((&report.wrong_shape[0].expected[..], &report.wrong_shape[0].found[..]), (&[2][..], &[5][..]));
    let text = report.to_string();
    assert!(text.contains("linear.weight; nearest unused: linear.weigth"), "{text}");
    assert!(text.contains("norm.weight: expected [2], found [5]"), "{text}");
    let error = load_into(zoo(), &checkpoint, &[]).unwrap_err();
    assert!(matches!(error, CheckpointError::Mismatch(_)));
    assert!(error.hint().unwrap().contains("another size"), "{:?}", error.hint());
}

#[test]
fn a_prefix_before_every_name_is_named() {
    let names: Vec<String> = ZOO.iter().map(|(name, _)| format!("backbone.{name}")).collect();
    let shapes: Vec<(&str, &[usize])> =
        names.iter().zip(ZOO).map(|(name, &(_, shape))| (name.as_str(), shape)).collect();
    let error = load_into(zoo(), &counting(&shapes), &[]).unwrap_err();
    assert!(error.hint().unwrap().contains("\"backbone.\" before it"), "{:?}", error.hint());
    assert!(load_into(zoo(), &counting(&shapes), &[rename(r"^backbone\.", "")]).is_ok());
}

#[test]
fn rules_split_rename_ignore_adapt_and_excuse() {
    #[derive(Module, Debug)]
    struct Attention {
        q: burn::nn::Linear,
        k: burn::nn::Linear,
        extra: burn::nn::LayerNorm,
    }
    let make = || Attention {
        q: LinearConfig::new(2, 2).init(&cpu()),
        k: LinearConfig::new(2, 2).init(&cpu()),
        extra: LayerNormConfig::new(3).init(&cpu()),
    };
    const KEYS: &[Rule] = &[
        split(r"^in_proj_(weight|bias)$", &["q.$1", "k.$1"]),
        ignore(r"^steps$", "a counter"),
        absent(r"^extra\.bias$", "added later"),
        adapt(r"^extra\.weight$", &RESHAPE),
    ];
    let shapes: &[(&str, &[usize])] =
        &[("in_proj_weight", &[4, 2]), ("in_proj_bias", &[4]), ("steps", &[]), ("extra.weight", &[3, 1, 1])];
    let (module, report) = load_into(make(), &counting(shapes), KEYS).unwrap();
    assert_eq!(values(&module.q.weight.val()), [1.0, 3.0, 2.0, 4.0]);
    assert_eq!(values(&module.k.weight.val()), [5.0, 7.0, 6.0, 8.0]);
    assert_eq!(values(&module.k.bias.as_ref().unwrap().val()), [3.0, 4.0]);
    assert_eq!(values(&module.extra.gamma.val()), [1.0, 2.0, 3.0]);
    assert_eq!(report.split.len(), 2);
    assert_eq!(report.ignored, [("steps".to_owned(), "a counter")]);
    assert_eq!(report.kept, [("extra.bias".to_owned(), "added later")]);
    assert_eq!(report.adapted, [("extra.weight".to_owned(), RESHAPE.name)]);
    let text = report.to_string();
    // Reasons that repeat stand once.
    let many = Checkpoint::from_tensors(
        ["steps", "a", "b"].map(|name| (name.to_owned(), StoredTensor::from_values([], vec![0.0]))),
    );
    let plan = plan(&make(), &many, &[ignore("^[ab]$", "letters"), ignore("^steps$", "a counter")]).unwrap();
    let lines = plan.report().to_string();
    assert!(lines.contains("    a and 1 more: letters\n    steps: a counter\n"), "{lines}");
    for line in ["split: 2", "in_proj_weight -> q.weight, k.weight", "steps: a counter", "extra.bias: added later"] {
        assert!(text.contains(line), "{text}");
    }
    // Three rows do not make two parts.
    let odd: &[(&str, &[usize])] = &[("in_proj_weight", &[3, 2]), ("in_proj_bias", &[4]), ("extra.weight", &[3])];
    let error = load_into(make(), &counting(odd), KEYS).unwrap_err();
    assert!(error.to_string().contains("expected [4], found [3, 2]"), "{error}");
    // Two tensors for one parameter.
    let twice: &[(&str, &[usize])] =
        &[("in_proj_weight", &[4, 2]), ("in_proj_bias", &[4]), ("q.bias", &[2]), ("extra.weight", &[3])];
    let error = load_into(make(), &counting(twice), KEYS).unwrap_err();
    assert!(error.to_string().contains("q.bias: by in_proj_bias and q.bias"), "{error}");
}

#[test]
fn values_that_are_not_finite_are_reported() {
    let mut shapes = ZOO.to_vec();
    shapes.remove(1);
    let mut tensors: Vec<(String, StoredTensor)> = shapes
        .iter()
        .map(|&(name, shape)| {
            let ones = vec![1.0; shape.iter().product()];
            (name.to_owned(), StoredTensor::from_values(shape, ones))
        })
        .collect();
    tensors.push(("linear.bias".into(), StoredTensor::from_values([2], vec![1.0, f32::NAN])));
    let (_, report) = load_into(zoo(), &Checkpoint::from_tensors(tensors), &[]).unwrap();
    assert_eq!(report.not_finite, ["linear.bias"]);
}

#[test]
fn numbers_of_a_wrong_count_are_an_error_not_a_panic() {
    let mut tensors: Vec<(String, StoredTensor)> = ZOO
        .iter()
        .map(|&(name, shape)| (name.to_owned(), StoredTensor::from_values(shape, vec![0.0; shape.iter().product()])))
        .collect();
    tensors[4].1 = StoredTensor::from_values([2, 2], vec![0.0; 3]);
    let error = load_into(zoo(), &Checkpoint::from_tensors(tensors), &[]).unwrap_err();
    assert!(matches!(&error, CheckpointError::Tensor { tensor, .. } if tensor == "square.0.weight"), "{error}");
}

/// Parameters that are trained: all but running statistics.
fn trained<M: Module>(module: &M) -> usize {
    let infos = parameters(module).into_iter().filter(|info| !info.name.contains("running_"));
    infos.map(|info| info.shape.iter().product::<usize>()).sum()
}

#[test]
fn parameter_counts_are_those_published() {
    let device = cpu();
    let classifier = |config: ResNetConfig| trained(&config.with_classes(Some(1000)).init(&device));
    for (found, published) in [
        (classifier(ResNetConfig::r18()), 11_689_512),
        (classifier(ResNetConfig::r50()), 25_557_032),
        (classifier(ResNetConfig::r101()), 44_549_160),
        (trained(&ResNetConfig::r18().init(&device)), 11_176_512),
        (trained(&ResNetConfig::r50().init(&device)), 23_508_032),
        (trained(&ResNetConfig::r101().init(&device)), 42_500_160),
        (trained(&BertConfig { pooler: true, ..BertConfig::base_uncased() }.init(&device)), 109_482_240),
        (trained(&BertConfig::base_uncased().init(&device)), 108_891_648),
        (trained(&SwinConfig::tiny_224().init(&device)), SWIN_T),
    ] {
        assert_eq!(found, published);
    }
}

/// 28,288,354 of the classifier, less its norm and head (1536 + 769,000), plus four norms (2 * 15 * 96).
const SWIN_T: usize = 28_288_354 - 1536 - 769_000 + 2 * 15 * 96;

#[test]
fn key_tables_cover_the_published_layouts() {
    let device = cpu();
    // torchvision's names, with and without the classifier.
    let names = goldens::read_json(&goldens::visible_root().join("resnet/keys.json"));
    for (name, config) in
        [("resnet18", ResNetConfig::r18()), ("resnet50", ResNetConfig::r50()), ("resnet101", ResNetConfig::r101())]
    {
        let keys: BTreeMap<String, Vec<usize>> = serde_json::from_value(names[name].clone()).unwrap();
        let tensors = keys.into_iter().map(|(key, shape)| (key, StoredTensor::from_values(shape, Vec::new())));
        let checkpoint = Checkpoint::from_tensors(tensors);
        let backbone = plan(&config.init(&device), &checkpoint, config.keys()).unwrap();
        assert!(backbone.report().is_complete(), "{}", backbone.report());
        let config = config.with_classes(Some(1000));
        let whole = plan(&config.init(&device), &checkpoint, config.keys()).unwrap();
        assert!(whole.report().is_complete(), "{}", whole.report());
        assert!(!whole.report().ignored.iter().any(|(name, _)| name.starts_with("fc.")));
    }
}

#[test]
fn bert_of_every_age_loads() {
    let config = BertConfig { vocabulary: 7, ..BertConfig::tiny() };
    let model = || config.init(&cpu());
    // From our names back to those of Hugging Face.
    let back: &[(&str, &str)] = &[
        ("attention_norm.", "attention.output.LayerNorm."),
        ("attention.out_proj.", "attention.output.dense."),
        ("attention.q_proj.", "attention.self.query."),
        ("attention.k_proj.", "attention.self.key."),
        ("attention.v_proj.", "attention.self.value."),
        ("intermediate.", "intermediate.dense."),
        ("output_norm.", "output.LayerNorm."),
        ("layer_norm.", "LayerNorm."),
    ];
    let published = |name: &str| {
        let name = match name.contains(".output.weight") || name.contains(".output.bias") {
            true => name.replace(".output.", ".output.dense."),
            false => name.to_owned(),
        };
        back.iter().fold(name, |name, (from, to)| name.replace(from, to))
    };
    let old = |name: String| {
        let name = format!("bert.{name}");
        let norm = name.contains("LayerNorm");
        if norm { name.replace(".weight", ".gamma").replace(".bias", ".beta") } else { name }
    };
    let d = config.width;
    let extra: Vec<(&str, Vec<usize>)> = vec![
        ("embeddings.position_ids", vec![1, 64]),
        ("pooler.dense.weight", vec![d, d]),
        ("pooler.dense.bias", vec![d]),
    ];
    for age in ["new", "old"] {
        let rename = |name: String| if age == "old" { old(name) } else { name };
        let mut tensors: Vec<(String, StoredTensor)> = parameters(&model())
            .into_iter()
            .map(|info| (rename(published(&info.name)), StoredTensor::from_values(info.shape, Vec::new())))
            .collect();
        for (name, shape) in &extra {
            tensors.push((rename((*name).to_owned()), StoredTensor::from_values(shape.clone(), Vec::new())));
        }
        tensors.push(("cls.predictions.bias".into(), StoredTensor::from_values([7], Vec::new())));
        let checkpoint = Checkpoint::from_tensors(tensors);
        let without = plan(&model(), &checkpoint, config.keys()).unwrap();
        assert!(without.report().is_complete(), "{age}: {}", without.report());
        assert_eq!(without.report().ignored.len(), 4);
        let config = BertConfig { pooler: true, ..config.clone() };
        let with = plan(&config.init(&cpu()), &checkpoint, config.keys()).unwrap();
        assert!(with.report().is_complete(), "{age}: {}", with.report());
    }
}

#[test]
fn a_swin_classifier_of_another_window_becomes_a_backbone() {
    let config = SwinConfig::tiny();
    let published = SwinConfig { window: 5, ..config.clone() }.init(&cpu());
    let mut tensors: Vec<(String, StoredTensor)> = parameters(&published)
        .into_iter()
        .filter(|info| !info.name.starts_with("norm"))
        .map(|info| {
            let ones = vec![1.0; info.shape.iter().product()];
            (info.name, StoredTensor::from_values(info.shape, ones))
        })
        .collect();
    for (name, shape) in [
        ("norm.weight", vec![64]),
        ("norm.bias", vec![64]),
        ("head.weight", vec![1000, 64]),
        ("head.bias", vec![1000]),
        ("layers.0.blocks.1.attn_mask", vec![4, 25, 25]),
        ("layers.0.blocks.0.attn.relative_position_index", vec![25, 25]),
    ] {
        let zeros = vec![0.0; shape.iter().product()];
        tensors.push((name.to_owned(), StoredTensor::from_values(shape, zeros)));
    }
    let checkpoint = Checkpoint::from_tensors(tensors);
    let (model, report) = load_into(config.init(&cpu()), &checkpoint, swin::CLASSIFIER_KEYS).unwrap();
    assert_eq!((report.adapted.len(), report.ignored.len(), report.kept.len()), (8, 6, 8));
    let maps = model.forward(Tensor::ones([1, 3, 30, 41], &cpu()));
    assert_eq!(maps.map(|map| map.dims()), [[1, 8, 8, 11], [1, 16, 4, 6], [1, 32, 2, 3], [1, 64, 1, 2]]);
    // timm has the steps between stages in the stage behind them.
    let timm = checkpoint.tensors().iter().map(|(name, tensor)| {
        let later = |from: usize| name.replace(&format!("layers.{from}.down"), &format!("layers.{}.down", from + 1));
        let name = (0..3).map(later).find(|new| new != name).unwrap_or_else(|| name.clone());
        (name, tensor.clone())
    });
    let timm = plan(&config.init(&cpu()), &Checkpoint::from_tensors(timm), swin::TIMM_KEYS).unwrap();
    assert!(timm.report().is_complete(), "{}", timm.report());
    assert_eq!(timm.report().renamed.len(), 9);
    // The table of detectors says what a classifier lacks.
    let plan = plan(&config.init(&cpu()), &checkpoint, swin::KEYS).unwrap();
    assert_eq!((plan.report().missing.len(), plan.report().unused.len()), (8, 4));
}

#[test]
fn tables_of_parts_make_a_table_of_the_whole() {
    #[derive(Module, Debug)]
    struct Whole {
        text_encoder: bert::Bert,
        backbone: resnet::ResNet,
    }
    const KEYS: &[Rule] = &[
        rename(r"^bert_model\.", "text_encoder."),
        rename(r"^model\.backbone\.", "backbone."),
        within("text_encoder.", bert::KEYS_WITHOUT_POOLER),
        within("backbone.", resnet::BACKBONE_KEYS),
    ];
    let config = BertConfig { vocabulary: 5, layers: 1, ..BertConfig::tiny() };
    let whole = Whole { text_encoder: config.init(&cpu()), backbone: ResNetConfig::tiny().init(&cpu()) };
    let mut tensors: Vec<(String, StoredTensor)> = parameters(&whole)
        .into_iter()
        .map(|info| {
            let name = info.name.replace("text_encoder.", "bert_model.").replace("backbone.", "model.backbone.");
            (name.replace("layer_norm", "LayerNorm"), StoredTensor::from_values(info.shape, Vec::new()))
        })
        .collect();
    tensors.push(("bert_model.pooler.dense.bias".into(), StoredTensor::from_values([32], Vec::new())));
    tensors.push(("model.backbone.fc.bias".into(), StoredTensor::from_values([10], Vec::new())));
    let plan = plan(&whole, &Checkpoint::from_tensors(tensors), KEYS).unwrap();
    assert!(plan.report().is_complete(), "{}", plan.report());
    assert_eq!(plan.report().ignored.len(), 2);
}

#[test]
fn weights_are_chosen_by_name() {
    let path = goldens::visible_root().join("dmmi/checkpoint/layout_zip.pth");
    let open = |weights: Weights| Checkpoint::open_weights(&path, &weights, &Limits::default());
    let whole = open(Weights::Everything).unwrap();
    assert!(whole.tensors().keys().any(|name| name.starts_with("bert_model.")) && whole.container().is_none());
    let error = open(Weights::Named("modle".into())).unwrap_err();
    let CheckpointError::NoContainer { known, .. } = &error else { panic!("{error}") };
    assert_eq!(known[0], "model", "the nearest name comes first");
    assert!(matches!(open(Weights::Ema), Err(CheckpointError::NoContainer { .. } | CheckpointError::Ambiguous { .. })));
}

#[test]
fn several_tensors_make_a_parameter_and_one_serves_several() {
    const KEYS: &[Rule] = &[
        distribute(r"^q\.weight$", &[Piece::to("weight").part(0, 3)]),
        distribute(r"^k\.weight$", &[Piece::to("weight").part(1, 3)]),
        distribute(r"^v\.weight$", &[Piece::to("weight").part(2, 3)]),
        // The first row of a table is a term of the bias, and so is another tensor.
        distribute(r"^table$", &[Piece::to("bias").rows(1, 2).term(2)]),
        distribute(r"^more$", &[Piece::to("bias").term(2)]),
        adapt(r"^bias$", &RESHAPE),
    ];
    let shapes: &[(&str, &[usize])] = &[
        ("v.weight", &[1, 2]),
        ("q.weight", &[1, 2]),
        ("k.weight", &[1, 2]),
        ("table", &[1, 3, 3]),
        ("more", &[1, 3]),
    ];
    let layer = || LinearConfig::new(2, 3).init(&cpu());
    let (loaded, report) = load_into(layer(), &counting(shapes), KEYS).unwrap();
    assert_eq!((report.loaded, report.joined.len()), (2, 2), "{report}");
    let weight: Vec<f32> = loaded.weight.val().swap_dims(0, 1).into_data().try_to_vec().unwrap();
    assert_eq!(weight, [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]);
    let bias: Vec<f32> = loaded.bias.unwrap().val().into_data().try_to_vec().unwrap();
    assert_eq!(bias, [4.0 + 1.0, 5.0 + 2.0, 6.0 + 3.0]);

    let report = |shapes: &[(&str, &[usize])]| plan(&layer(), &counting(shapes), KEYS).unwrap().report().clone();
    let without =
        |gone: &str| -> Vec<(&str, &[usize])> { shapes.iter().copied().filter(|(name, _)| *name != gone).collect() };
    let lacking = report(&without("k.weight"));
    assert_eq!(lacking.missing[0].0, "weight (2 of 3 pieces, q.weight and v.weight)");
    assert_eq!(report(&without("more")).missing[0].0, "bias (1 of 2 pieces, table)");
    let changed = |name: &str, shape: &'static [usize]| -> Vec<(&str, &[usize])> {
        without(name).into_iter().chain([(shapes.iter().find(|(known, _)| *known == name).unwrap().0, shape)]).collect()
    };
    assert_eq!(report(&changed("k.weight", &[2, 2])).wrong_shape[0].found, [2, 2]);
    assert_eq!(report(&changed("table", &[1, 3])).wrong_shape[0].name, "bias");
    let twice: Vec<_> = shapes.iter().copied().chain([("weight", &[3, 2][..])]).collect();
    assert_eq!(report(&twice).duplicates[0].0, "weight");
}

/// A field whose name is a keyword.
#[derive(Module, Debug)]
struct Keyword {
    r#box: burn::nn::Linear,
}

#[test]
fn keywords_are_plain_names_in_files() {
    let module = Keyword { r#box: LinearConfig::new(2, 2).with_bias(false).init(&cpu()) };
    let names: Vec<String> = parameters(&module).into_iter().map(|info| info.name).collect();
    assert_eq!(names, ["box.weight"]);
    let (loaded, _) = load_into(module, &counting(&[("box.weight", &[2, 2])]), &[]).unwrap();
    let values: Vec<f32> = loaded.r#box.weight.val().into_data().try_to_vec().unwrap();
    assert_eq!(values, [1.0, 3.0, 2.0, 4.0]);
}
