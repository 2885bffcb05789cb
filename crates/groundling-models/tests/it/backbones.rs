//! Backbones that systems share: what files say about them, and what must hold for each of them whatever the system.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Device, Tensor};
use groundling_core::ContentRect;
use groundling_models::backbone::BackboneConfig;
use groundling_models::bases::Look;
use groundling_models::contract::{Batch, Trainable};
use groundling_models::dmmi::{Backbone as DmmiBackbone, Dmmi, DmmiConfig, Language, Observer, Seen};
use groundling_models::focus_detr::{FocusDetr, FocusDetrConfig};
use groundling_models::scalablevit::{HeadConfig, HeadKind, Order, OutputNorm, ScalableVitConfig};
use groundling_models::transvg::{TransVg, TransVgConfig};
use groundling_models::vltvg::{Vltvg, VltvgConfig};
use groundling_nn::checkpoint::{
    Checkpoint, Limits, Precision, StoredTensor, gradients, load_into, parameters, plan, save,
};
use groundling_nn::resnet::{BlockKind, ResNetConfig};
use groundling_nn::swin::{SwinConfig, TokenMap};
use groundling_testkit::{fill, scratch};

use crate::support;

/// One of every kind.
fn kinds() -> [(&'static str, BackboneConfig); 3] {
    [
        ("res_net", BackboneConfig::ResNet(ResNetConfig::tiny().with_train_norms(true))),
        ("swin", BackboneConfig::Swin(SwinConfig::tiny())),
        ("scalable_vit", BackboneConfig::ScalableVit(scalable())),
    ]
}

/// Whose last map of small pictures is not one window.
fn scalable() -> ScalableVitConfig {
    ScalableVitConfig { window: 3, ..ScalableVitConfig::tiny().dense() }
}

fn dmmi(encoder: ScalableVitConfig) -> DmmiConfig {
    DmmiConfig { backbone: DmmiBackbone::ScalableVit(encoder), dropout: 0.0, ..DmmiConfig::tiny() }
}

#[test]
fn files_name_the_backbone() {
    for (name, backbone) in kinds() {
        let transvg = TransVgConfig { backbone: backbone.clone(), ..TransVgConfig::tiny() };
        let vltvg = VltvgConfig { backbone: backbone.clone(), ..VltvgConfig::tiny() };
        let detector = FocusDetrConfig { backbone: backbone.clone(), ..FocusDetrConfig::tiny() };
        assert_eq!((transvg.check(), vltvg.check(), detector.check()), (Ok(()), Ok(()), Ok(())), "{name}");
        let text = serde_json::to_value(&transvg).unwrap();
        assert!(text["backbone"].as_object().unwrap().keys().eq([name]), "{text}");
        assert_eq!(serde_json::from_value::<TransVgConfig>(text).unwrap(), transvg);
        let text = serde_json::to_string(&vltvg).unwrap();
        assert_eq!(serde_json::from_str::<VltvgConfig>(&text).unwrap(), vltvg);
        let text = serde_json::to_string(&detector).unwrap();
        assert_eq!(serde_json::from_str::<FocusDetrConfig>(&text).unwrap(), detector);
    }
}

/// TransVG and VLTVG wrote the sizes of their ResNet alone before they could have another backbone.
#[test]
fn tables_of_a_resnet_alone_are_still_read() {
    let resnet = ResNetConfig::tiny().with_dilate_last(true).with_train_norms(true);
    let alone = serde_json::to_value(&resnet).unwrap();
    let mut old = serde_json::to_value(TransVgConfig::tiny()).unwrap();
    old["backbone"] = alone.clone();
    assert_eq!(serde_json::from_value::<TransVgConfig>(old.clone()).unwrap(), TransVgConfig::tiny());
    let mut of_vltvg = serde_json::to_value(VltvgConfig::tiny()).unwrap();
    of_vltvg["backbone"] = alone.clone();
    assert_eq!(serde_json::from_value::<VltvgConfig>(of_vltvg).unwrap(), VltvgConfig::tiny());
    // What is neither says what is wrong.
    let swin = serde_json::to_value(SwinConfig::tiny()).unwrap();
    let mut error = |backbone: serde_json::Value| {
        old["backbone"] = backbone;
        serde_json::from_value::<TransVgConfig>(old.clone()).unwrap_err().to_string()
    };
    let unknown = error(serde_json::json!({ "vgg": {} }));
    assert!(unknown.contains("unknown variant `vgg`") && unknown.contains("scalable_vit"), "{unknown}");
    let mut both = alone.clone();
    both["swin"] = swin;
    assert!(error(both).contains("single key"));
    let mut part = alone;
    part.as_object_mut().unwrap().remove("layers");
    assert!(error(part).contains("missing field `layers`"));
    assert!(error(serde_json::json!({ "scalable_vit": { "dimensions": [1] } })).contains("unknown field `dimensions`"));
}

/// The detector that comes with the project is read as it is.
#[test]
fn the_detector_in_the_repository_is_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../weights/focus-detr-tiny");
    let text = std::fs::read_to_string(format!("{folder}/config.json")).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let config: FocusDetrConfig = serde_json::from_value(json["config"].take()).unwrap();
    assert!(matches!(config.backbone, BackboneConfig::Swin(_)));
    let checkpoint = Checkpoint::open(format!("{folder}/model.safetensors"), &Limits::default()).unwrap();
    let (_, report) = load_into(config.init(&Device::flex()).unwrap(), &checkpoint, &[]).unwrap();
    assert!(report.is_complete() && report.renamed.is_empty(), "{report}");
}

/// DMMI's encoder may have more blocks than the detector's, which start from random numbers, but not other stages.
#[test]
fn a_detector_starts_a_deeper_encoder() {
    let _alone = support::alone();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../weights/focus-detr-tiny");
    let checkpoint = Checkpoint::open(format!("{folder}/model.safetensors"), &Limits::default()).unwrap();
    let started = |deep: [usize; 4]| {
        let mut backbone = DmmiConfig::tiny().backbone;
        if let DmmiBackbone::Swin { embed_dim, depths, heads, .. } = &mut backbone {
            (*embed_dim, *depths, *heads) = (24, deep, [2, 3, 6, 12]);
        }
        let config = DmmiConfig { backbone, absence_layers: 1, ..DmmiConfig::tiny() };
        let model = Dmmi::new(&config, &Device::flex()).unwrap();
        let layouts = Dmmi::layouts(&config);
        let rules = &layouts.iter().find(|layout| layout.name == "focus-detr").unwrap().rules;
        plan(&model, &checkpoint, rules).map(|plan| plan.report().clone())
    };
    let fresh = |report: &groundling_nn::checkpoint::Report| {
        report.kept.iter().filter(|(name, _)| name.starts_with("network.backbone.")).count()
    };
    let same = started([1, 2, 2, 1]).unwrap();
    assert!(same.is_complete() && fresh(&same) == 0, "{same}");
    let deeper = started([1, 2, 4, 1]).unwrap();
    // Two blocks of 13 parameters.
    assert!(deeper.is_complete() && deeper.loaded == same.loaded && fresh(&deeper) == 26, "{deeper}");
    assert!(deeper.kept.iter().any(|(name, _)| name == "network.backbone.layers.2.blocks.3.mlp.fc2.weight"));
}

/// Four maps of the sizes that are promised, from all parameters.
#[test]
fn every_backbone_gives_four_maps_and_learns() {
    let device = Device::flex().autodiff();
    for (name, config) in kinds() {
        let backbone = {
            let _alone = support::alone();
            device.seed(3);
            let backbone = config.init(&device).unwrap();
            groundling_nn::checkpoint::initialise(&backbone);
            backbone
        };
        let picture = support::tensor(&fill::uniform("picture", &[1, 3, 69, 50], -2.0, 2.0, 3), &device);
        let maps = backbone.forward(picture).unwrap();
        for (stage, (map, channels)) in maps.iter().zip(config.channels()).enumerate() {
            let stride = config.strides()[stage];
            assert_eq!(map.dims(), [1, channels, 69usize.div_ceil(stride), 50usize.div_ceil(stride)], "{name}");
        }
        let loss = maps.into_iter().map(|map| map.powi_scalar(3).sum()).reduce(|a, b| a + b).unwrap();
        let found = gradients(&backbone, &loss.backward());
        let moved: BTreeSet<String> = found
            .into_iter()
            .filter(|(_, values)| values.iter().any(|&value| value != 0.0) && values.iter().all(|v| v.is_finite()))
            .map(|(info, _)| info.name)
            .collect();
        assert_eq!(moved, support::trainable(&backbone), "{name}");
        // Statistics of a ResNet's norms are parameters that are never trained.
        let all = parameters(&backbone).into_iter().filter(|info| !info.name.contains("running_"));
        assert_eq!(moved.len(), all.count(), "{name}");
    }
}

/// Names in files are those that the system had before, and the count of operations is the backbone's and what is behind it.
#[test]
fn grounders_take_any_backbone() {
    let _alone = support::alone();
    for (name, backbone) in kinds() {
        let config = TransVgConfig { backbone: backbone.clone(), ..TransVgConfig::tiny() };
        let model = TransVg::new(&config, &Device::flex()).unwrap();
        let own: Vec<String> = parameters(&backbone.init(&Device::flex()).unwrap())
            .into_iter()
            .map(|info| format!("visual.backbone.{}", info.name))
            .collect();
        let all = parameters(&model).into_iter().map(|info| info.name);
        assert_eq!(all.filter(|name| name.starts_with("visual.backbone.")).collect::<Vec<_>>(), own, "{name}");
        // A wider backbone of the same maps costs what it takes itself.
        let (more, vltvg) = (deeper(&backbone), VltvgConfig { backbone: backbone.clone(), ..VltvgConfig::tiny() });
        let extra = 2 * (more.macs([128; 2]) - backbone.macs([128; 2]));
        assert!(extra > 0);
        let dense = |backbone: &BackboneConfig| {
            let transvg = TransVgConfig { backbone: backbone.clone(), ..config.clone() };
            let vltvg = VltvgConfig { backbone: backbone.clone(), ..vltvg.clone() };
            [transvg.dense_flops(11), vltvg.dense_flops(11)]
        };
        assert_eq!(dense(&more), dense(&backbone).map(|flops| flops + extra), "{name}");
    }
}

/// The same with one more block in the first stage.
fn deeper(backbone: &BackboneConfig) -> BackboneConfig {
    let mut deeper = backbone.clone();
    match &mut deeper {
        BackboneConfig::ResNet(config) => config.layers[0] += 1,
        BackboneConfig::Swin(config) => config.depths[0] += 1,
        BackboneConfig::ScalableVit(config) => config.depths[0] += 1,
    }
    deeper
}

#[test]
fn backbones_that_cannot_be_are_refused() {
    let scalable = |change: fn(&mut ScalableVitConfig)| {
        let mut config = scalable();
        change(&mut config);
        BackboneConfig::ScalableVit(config)
    };
    let swin = |change: fn(&mut SwinConfig)| {
        let mut config = SwinConfig::tiny();
        change(&mut config);
        BackboneConfig::Swin(config)
    };
    let basic = ResNetConfig::new(BlockKind::Basic, [1; 4]).with_dilate_last(true);
    let refused = [
        (BackboneConfig::ResNet(basic), "res_net", "dilate_last = true"),
        (BackboneConfig::ResNet(ResNetConfig::tiny().with_classes(Some(3))), "res_net", "classes = Some(3)"),
        (BackboneConfig::ResNet(ResNetConfig::new(BlockKind::Basic, [1, 0, 1, 1])), "res_net", "layers = [1, 0, 1, 1]"),
        (swin(|config| config.heads[1] = 5), "swin", "heads = [1, 5, 2, 4]"),
        (swin(|config| config.patch = 0), "swin", "patch = 0"),
        (swin(|config| config.window = 1), "swin", "window = 1"),
        (swin(|config| config.mlp_ratio = f64::NAN), "swin", "mlp_ratio = NaN"),
        (swin(|config| config.drop_path = 1.0), "swin", "drop_path = 1"),
        (scalable(|config| config.in_channels = 4), "scalable_vit", "in_channels = 4"),
        (scalable(|config| config.strides[2] = 0), "scalable_vit", "strides = [4, 2, 0, 2]"),
        (scalable(|config| config.dims[3] = usize::MAX), "scalable_vit", "dims = "),
        (scalable(|config| config.depths[3] = usize::MAX), "scalable_vit", "depths = "),
        (
            scalable(|config| config.head = Some(HeadConfig { kind: HeadKind::Plain, classes: 7 })),
            "scalable_vit",
            "head = 7 classes",
        ),
    ];
    for (backbone, kind, what) in refused {
        let error = backbone.check().unwrap_err();
        assert_eq!(error.field, format!("backbone.{kind}"));
        assert!(error.found.starts_with(what), "{error}");
        let of_systems = [
            TransVg::new(&TransVgConfig { backbone: backbone.clone(), ..TransVgConfig::tiny() }, &Device::flex()).err(),
            Vltvg::new(&VltvgConfig { backbone: backbone.clone(), ..VltvgConfig::tiny() }, &Device::flex()).err(),
            FocusDetrConfig { backbone, ..FocusDetrConfig::tiny() }.check().err(),
        ];
        assert!(of_systems.iter().all(|found| found.as_ref() == Some(&error)), "{of_systems:?}");
    }
    // Canvases are whole cells of the last map, and no stage reduces them to nothing.
    let canvas = |backbone: &BackboneConfig, image_size: usize| {
        TransVgConfig { backbone: backbone.clone(), image_size, ..TransVgConfig::tiny() }.check().unwrap_err()
    };
    for (_, backbone) in kinds() {
        let error = canvas(&backbone, 100);
        assert_eq!((error.field, error.expected.contains("multiple of 32")), ("image_size", true), "{error}");
    }
    // A detector's levels are those of stride 8, 16, 32 and 64.
    let dilated = BackboneConfig::ResNet(ResNetConfig::tiny().with_dilate_last(true));
    for backbone in [dilated, swin(|config| config.patch = 2), scalable(|config| config.strides = [4, 2, 2, 1])] {
        let error = FocusDetrConfig { backbone, ..FocusDetrConfig::tiny() }.check().unwrap_err();
        assert_eq!((error.field, error.expected.as_str()), ("backbone", "[4, 8, 16, 32]"));
    }
    let coarse = scalable(|config| config.reductions = [8, 4, 9, 1]);
    let error = canvas(&coarse, 128);
    assert_eq!((error.field, error.expected.contains("at least 129")), ("image_size", true), "{error}");
}

/// What there is to start from, and that what there is not is not offered.
#[test]
fn layouts_are_those_of_the_backbone() {
    let names = |layouts: Vec<groundling_models::contract::Layout>| -> Vec<&'static str> {
        layouts.iter().map(|layout| layout.name).collect()
    };
    for (name, backbone) in kinds() {
        let published = name == "res_net";
        let transvg = TransVgConfig { backbone: backbone.clone(), ..TransVgConfig::tiny() };
        let vltvg = VltvgConfig { backbone: backbone.clone(), ..VltvgConfig::tiny() };
        let mut expected = if published { vec!["official", "detr"] } else { Vec::new() };
        expected.extend(["bert", "imagenet", "focus-detr"]);
        assert_eq!(names(TransVg::layouts(&transvg)), expected, "{name}");
        assert_eq!(names(Vltvg::layouts(&vltvg)), expected, "{name}");
        let detector = FocusDetrConfig { backbone, ..FocusDetrConfig::tiny() };
        let expected: &[&str] =
            if name == "scalable_vit" { &["imagenet"] } else { &["detrex", "sparse_detr", "imagenet"] };
        assert_eq!(names(FocusDetr::layouts(&detector)), expected, "{name}");
    }
    assert_eq!(names(Dmmi::layouts(&dmmi(scalable()))), ["encoders", "focus-detr"]);
    assert_eq!(names(Dmmi::layouts(&DmmiConfig::tiny())), ["official", "encoders", "focus-detr"]);
}

/// What is not read is not computed, and the rest is as if it were.
#[test]
fn maps_up_to_a_stage_are_those_of_all() {
    let device = Device::flex();
    let _alone = support::alone();
    device.seed(6);
    let picture = support::tensor(&fill::uniform("picture", &[1, 3, 64, 96], -2.0, 2.0, 5), &device);
    for (name, config) in kinds() {
        let backbone = config.init(&device).unwrap();
        let all = backbone.forward(picture.clone()).unwrap();
        for last in 0..4 {
            let some = backbone.forward_to(last, picture.clone()).unwrap();
            assert_eq!(some.len(), last + 1, "{name}");
            for (some, all) in some.into_iter().zip(&all) {
                assert_eq!(some.into_data(), all.clone().into_data(), "{name}, {last}");
            }
        }
        assert_eq!(config.macs_to(3, [64, 96]), config.macs([64, 96]), "{name}");
        let cheaper = config.macs_to(1, [64, 96]) < config.macs([64, 96]);
        assert_eq!(cheaper, name == "swin", "{name}: only a Swin stops early");
    }
}

/// Attention over equal tokens gives equal tokens, wherever they are, unless tokens hold their places.
#[test]
fn places_are_in_tokens_only_if_asked() {
    struct Tokens(Option<Tensor<3>>);
    impl Look for Tokens {
        fn see<const D: usize>(&mut self, name: &'static str, _: usize, value: impl FnOnce() -> Tensor<D>) {
            if name == "visu_proj" {
                let value = value();
                let sizes: [usize; D] = value.dims();
                self.0 = Some(value.reshape([sizes[0], sizes[1], sizes[2]]));
            }
        }
    }
    let device = Device::flex();
    let _alone = support::alone();
    for placed in [false, true] {
        let swin = SwinConfig { window: 4, ..SwinConfig::tiny() };
        let config = TransVgConfig { backbone: BackboneConfig::Swin(swin), stage: 2, placed, ..TransVgConfig::tiny() };
        device.seed(8);
        let model = TransVg::new(&config, &device).unwrap();
        let batch = Batch {
            canvases: Tensor::ones([1, 3, 128, 128], &device),
            contents: vec![ContentRect { top: 0, left: 0, height: 128, width: 128 }],
            ids: Tensor::from_data([[101, 2417, 102]], &device),
            lengths: vec![3],
            erased: None,
            same_canvas: Batch::own_canvases(1),
        };
        let mut look = Tokens(None);
        model.forward(&batch, &mut look);
        let tokens = look.0.unwrap();
        assert_eq!(tokens.dims()[1], 64);
        let apart = (tokens.clone() - tokens.narrow(1, 0, 1)).abs().max().into_scalar::<f32>();
        assert_eq!(apart > 1e-2, placed, "{apart}");
        assert!(placed || apart < 1e-4, "{apart}");
    }
}

/// A released classifier's names start the backbone of every system that can have it, and nothing else.
#[test]
fn classifiers_start_the_backbone() {
    let _alone = support::alone();
    let device = Device::flex();
    let classifier = ScalableVitConfig { window: 3, ..ScalableVitConfig::tiny() }.init(&device).unwrap();
    let published = crate::scalablevit::published(&classifier);
    let trunk = parameters(&scalable().init(&device).unwrap()).len() - 8; // norms of the four maps start at rest
    let backbone = BackboneConfig::ScalableVit(scalable());
    let transvg = TransVgConfig { backbone: backbone.clone(), ..TransVgConfig::tiny() };
    let detector = FocusDetrConfig { backbone: backbone.clone(), ..FocusDetrConfig::tiny() };
    let checkpoint = Checkpoint::from_tensors(published.clone());
    let loads = |loaded: usize, report: &groundling_nn::checkpoint::Report| {
        assert!(report.is_complete() && report.loaded == loaded, "{loaded}: {report}");
    };
    let rules = |layouts: Vec<groundling_models::contract::Layout>, name: &str| {
        let layout = layouts.into_iter().find(|layout| layout.name == name).unwrap();
        assert!(name != "imagenet" || checkpoint.tensors().keys().any(|key| key.starts_with(layout.marker)));
        layout.rules
    };
    let model = TransVg::new(&transvg, &device).unwrap();
    loads(trunk, plan(&model, &checkpoint, &rules(TransVg::layouts(&transvg), "imagenet")).unwrap().report());
    let model = detector.init(&device).unwrap();
    loads(trunk, plan(&model, &checkpoint, &rules(FocusDetr::layouts(&detector), "imagenet")).unwrap().report());
    // DMMI's encoders are one file.
    let config = dmmi(scalable());
    let model = Dmmi::new(&config, &device).unwrap();
    let bert: Vec<(String, StoredTensor)> = parameters(&model)
        .into_iter()
        .filter_map(|info| {
            let name = format!("bert.{}", info.name.strip_prefix("text.")?);
            Some((name, StoredTensor::from_values(info.shape, Vec::new())))
        })
        .collect();
    let texts = bert.len();
    let both = published.into_iter().map(|(name, tensor)| (format!("image.{name}"), tensor)).chain(bert);
    let rules = rules(Dmmi::layouts(&config), "encoders");
    let report = plan(&model, &Checkpoint::from_tensors(both), &rules).unwrap().report().clone();
    loads(trunk + texts, &report);
}

#[test]
fn dmmi_checks_its_encoder() {
    let config = dmmi(scalable());
    assert_eq!(config.check(), Ok(()));
    let text = serde_json::to_value(&config).unwrap();
    assert_eq!(text["backbone"]["type"], "scalable_vit");
    assert_eq!(serde_json::from_value::<DmmiConfig>(text.clone()).unwrap(), config);
    let mut wrong = text;
    wrong["backbone"]["embed_dim"] = 24.into();
    assert!(serde_json::from_value::<DmmiConfig>(wrong).unwrap_err().to_string().contains("unknown field `embed_dim`"));
    let changed = |change: fn(&mut ScalableVitConfig)| {
        let mut encoder = scalable();
        change(&mut encoder);
        dmmi(encoder)
    };
    for (config, field) in [
        (changed(|encoder| encoder.heads[0] = 3), "backbone.scalable_vit"),
        (changed(|encoder| encoder.strides[0] = 0), "backbone.scalable_vit"),
        (changed(|encoder| encoder.head = ScalableVitConfig::tiny().head), "backbone.scalable_vit"),
        (changed(|encoder| encoder.reductions[0] = 17), "image_size"),
        (changed(|encoder| encoder.strides = [8, 2, 2, 2]), "image_size"),
    ] {
        assert_eq!(config.check().unwrap_err().field, field);
    }
    // A block more costs what it takes itself.
    let more = changed(|encoder| encoder.depths[1] += 1);
    let alone = |config: &DmmiConfig| {
        let DmmiBackbone::ScalableVit(encoder) = &config.backbone else { panic!("a ScalableViT") };
        2 * encoder.macs([config.image_size; 2])
    };
    assert_eq!(more.flops() - config.flops(), alone(&more) - alone(&config));
    assert!(more.flops() > config.flops());
}

/// Where the gates let nothing through, the encoder that is stopped after each stage is the one that is not.
#[test]
fn stages_one_by_one_are_the_whole_encoder() {
    let device = Device::flex();
    for output_norm in [OutputNorm::Trunk, OutputNorm::Side, OutputNorm::None] {
        let encoder = ScalableVitConfig { output_norm, order: Order::SsaFirst, ..scalable() };
        let config = dmmi(encoder.clone());
        let closed = |name: &str, shape: &[usize]| {
            let values = fill::parameter(name, shape, 5).to_f32();
            if name.contains(".gate_out.") { vec![0.0; values.len()] } else { values }
        };
        let blank = Dmmi::new(&config, &device).unwrap();
        let tensors: Vec<(String, StoredTensor)> = parameters(&blank)
            .into_iter()
            .map(|info| {
                let values = closed(&info.name, &info.shape);
                (info.name, StoredTensor::from_values(info.shape, values))
            })
            .collect();
        let (model, _) = load_into(blank, &Checkpoint::from_tensors(tensors.clone()), &[]).unwrap();
        let of_encoder = tensors
            .into_iter()
            .filter_map(|(name, tensor)| Some((name.strip_prefix("network.backbone.")?.to_owned(), tensor)));
        let (plain, _) = load_into(encoder.init(&device).unwrap(), &Checkpoint::from_tensors(of_encoder), &[]).unwrap();

        let picture = support::tensor(&fill::uniform("picture", &[1, 3, 64, 64], -2.0, 2.0, 3), &device);
        let tokens = support::tensor(&fill::uniform("tokens", &[1, 5, 48], -2.0, 2.0, 3), &device);
        let language = Language { tokens, valid: Tensor::ones([1, 5], &device) };
        let mut gated = BTreeMap::new();
        let mut watch = |seen: Seen<'_>| {
            if let Some(stage) = seen.place.strip_suffix(".gated") {
                gated.insert(
                    stage.to_owned(),
                    seen.values.reshape::<4, _>([seen.shape[0], seen.shape[1], seen.shape[2], seen.shape[3]]),
                );
            }
        };
        let network = model.network();
        network.encode(network.first(picture.clone()), &language, &mut Observer::new(&mut watch));
        for (stage, map) in plain.forward(picture).unwrap().into_iter().enumerate() {
            let found = gated.remove(&format!("stage{stage}")).unwrap();
            let found = plain.stages[stage].normed(TokenMap::from_image(found)).into_image();
            assert_eq!(found.dims(), map.dims());
            let apart = (found - map).abs().max().into_scalar::<f32>();
            assert!(apart < 1e-5, "{output_norm:?}, stage {stage}: {apart}");
        }
        assert!(gated.is_empty());
    }
}

/// Weights of every system with every backbone survive their file.
#[test]
fn weights_survive_their_file() {
    let device = Device::flex();
    let folder = scratch("backbones");
    for (name, backbone) in kinds() {
        let config = VltvgConfig { backbone, ..VltvgConfig::tiny() };
        let model = Vltvg::new(&config, &device).unwrap();
        let path = folder.join(format!("{name}.safetensors"));
        save(&model, &path, Precision::F32, &BTreeMap::new()).unwrap();
        let checkpoint = Checkpoint::open(&path, &Limits::default()).unwrap();
        let (_, report) = load_into(Vltvg::new(&config, &device).unwrap(), &checkpoint, &[]).unwrap();
        assert!(report.is_complete() && report.renamed.is_empty(), "{name}: {report}");
    }
}
