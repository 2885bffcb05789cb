//! Names of the reference, made from a configuration.

use groundling_models::focus_detr::{
    BackboneConfig, DETREX_KEYS, DecoderKind, EncoderConfig, FocusDetrConfig, SPARSE_DETR_KEYS, decays, in_backbone,
};
use groundling_nn::checkpoint::{Rule, destinations, parameters};
use groundling_testkit::Folder;
use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// The key table of a configuration's names.
pub(super) fn keys(config: &FocusDetrConfig) -> &'static [Rule] {
    match config.decoder {
        DecoderKind::Dino => DETREX_KEYS,
        DecoderKind::TwoStage => SPARSE_DETR_KEYS,
    }
}

#[derive(Default)]
struct Names(Vec<String>);

impl Names {
    fn one(&mut self, name: impl Into<String>) {
        self.0.push(name.into());
    }

    /// Weight and bias.
    fn layer(&mut self, name: &str) {
        self.one(format!("{name}.weight"));
        self.one(format!("{name}.bias"));
    }

    fn layers(&mut self, owner: &str, names: &[&str]) {
        names.iter().for_each(|name| self.layer(&format!("{owner}.{name}")));
    }

    fn deformable(&mut self, name: &str) {
        self.layers(name, &["sampling_offsets", "attention_weights", "value_proj", "output_proj"]);
    }

    fn attention(&mut self, name: &str) {
        self.one(format!("{name}.in_proj_weight"));
        self.one(format!("{name}.in_proj_bias"));
        self.layer(&format!("{name}.out_proj"));
    }

    fn heads(&mut self, count: usize) {
        for index in 0..count {
            self.layer(&format!("class_embed.{index}"));
            self.layers(&format!("bbox_embed.{index}"), &["layers.0", "layers.1", "layers.2"]);
        }
    }

    fn selection(&mut self) {
        self.layers("transformer.enc_mask_predictor", &["layer1.0", "layer1.1", "layer2.0", "layer2.2", "layer2.4"]);
    }
}

/// Everything behind the maps.
pub(super) fn transformer(config: &FocusDetrConfig) -> Vec<String> {
    let mut names = Names::default();
    names.heads(config.decoder_layers + 1);
    names.layer("transformer.enc_output");
    names.layer("transformer.enc_output_norm");
    if config.encoder != EncoderConfig::Dense {
        names.selection();
    }
    match config.decoder {
        DecoderKind::Dino => dino(config, &mut names),
        DecoderKind::TwoStage => two_stage(config, &mut names),
    }
    names.0
}

fn dino(config: &FocusDetrConfig, names: &mut Names) {
    names.one("label_enc.weight");
    names.one("transformer.tgt_embed.weight");
    names.one("transformer.level_embeds");
    let focuses = matches!(config.encoder, EncoderConfig::Focus(_));
    if focuses {
        names.one("transformer.alpha");
    }
    for index in 0..config.encoder_layers {
        let layer = format!("transformer.encoder.layers.{index}");
        if focuses {
            names.attention(&format!("{layer}.attentions.0.attn"));
            names.layer(&format!("{layer}.norm2"));
        }
        names.deformable(&format!("{layer}.attentions.{}", usize::from(focuses)));
        names.layers(&layer, &["ffns.0.layers.0.0", "ffns.0.layers.1", "norms.0", "norms.1"]);
    }
    for index in 0..config.decoder_layers {
        let layer = format!("transformer.decoder.layers.{index}");
        names.attention(&format!("{layer}.attentions.0.attn"));
        names.deformable(&format!("{layer}.attentions.1"));
        names.layers(&layer, &["ffns.0.layers.0.0", "ffns.0.layers.1", "norms.0", "norms.1", "norms.2"]);
    }
    names.layers("transformer.decoder", &["ref_point_head.layers.0", "ref_point_head.layers.1", "norm"]);
}

fn two_stage(config: &FocusDetrConfig, names: &mut Names) {
    names.one("transformer.level_embed");
    names.layer("transformer.pos_trans");
    names.layer("transformer.pos_trans_norm");
    for index in 0..config.encoder_layers {
        let layer = format!("transformer.encoder.layers.{index}");
        names.deformable(&format!("{layer}.self_attn"));
        names.layers(&layer, &["norm1", "linear1", "linear2", "norm2"]);
    }
    for index in 0..config.decoder_layers {
        let layer = format!("transformer.decoder.layers.{index}");
        names.attention(&format!("{layer}.self_attn"));
        names.deformable(&format!("{layer}.cross_attn"));
        names.layers(&layer, &["norm1", "norm2", "norm3", "linear1", "linear2"]);
    }
}

/// Backbone and neck; of a Swin those whose maps are used.
pub(super) fn features(config: &FocusDetrConfig) -> Vec<String> {
    let mut names = Names::default();
    match &config.backbone {
        BackboneConfig::ResNet(resnet) => {
            let mut conv = |name: &str| {
                names.one(format!("backbone.{name}.weight"));
                for of_norm in ["weight", "bias", "running_mean", "running_var"] {
                    names.one(format!("backbone.{name}.norm.{of_norm}"));
                }
            };
            conv("stem.conv1");
            for (stage, blocks) in resnet.layers.iter().enumerate() {
                for block in 0..*blocks {
                    let layers = ["conv1", "conv2", "conv3", "shortcut"];
                    for layer in &layers[..if block == 0 { 4 } else { 3 }] {
                        conv(&format!("res{}.{block}.{layer}", stage + 2));
                    }
                }
            }
        }
        // The layout of the reference is that of our module.
        BackboneConfig::Swin(_) => {
            let all = parameters(&config.backbone.init(&Device::flex()).unwrap()).into_iter();
            all.filter(|info| !info.name.starts_with("norm0."))
                .for_each(|info| names.one(format!("backbone.{}", info.name)));
        }
        BackboneConfig::ScalableVit(_) => panic!("no published layout"),
    }
    for level in ["convs.0", "convs.1", "convs.2", "extra_convs.0"] {
        names.layers(&format!("neck.{level}"), &["conv", "norm"]);
    }
    names.0
}

pub(super) fn all(config: &FocusDetrConfig) -> Vec<String> {
    features(config).into_iter().chain(transformer(config)).collect()
}

/// The published list of keys is the module's, name by name and shape by shape; what is said twice is ignored with a reason.
#[test]
fn key_list() {
    #[derive(Deserialize)]
    struct Entry {
        name: String,
        shape: Vec<usize>,
        canonical: Option<String>,
    }
    for case in Folder::open("focus_detr").of_kinds(&["state_dict_keys"], 1) {
        let entries: Vec<Entry> = serde_json::from_value(case.file_json()).unwrap();
        assert!(entries.len() >= 100, "{}", entries.len());
        let table = entries.iter().find(|entry| entry.name == "transformer.tgt_embed.weight").unwrap();
        let classes = entries.iter().find(|entry| entry.name == "class_embed.0.bias").unwrap().shape[0];
        let config = FocusDetrConfig { queries: table.shape[0], classes, ..FocusDetrConfig::r50() };
        let own: BTreeMap<String, Vec<usize>> = parameters(&config.init(&Device::flex()).unwrap())
            .into_iter()
            .map(|info| (info.name, info.shape))
            .collect();
        let mut theirs = BTreeMap::new();
        let mut aliases = 0;
        for Entry { name, shape, canonical } in &entries {
            let targets = destinations(name, DETREX_KEYS).unwrap();
            if canonical.is_some() {
                assert!(targets.is_empty(), "{name} goes to {targets:?}");
                aliases += 1;
                continue;
            }
            let mut part = shape.clone();
            part[0] /= targets.len();
            targets.into_iter().for_each(|target| assert!(theirs.insert(target, part.clone()).is_none()));
        }
        assert_eq!(own, theirs);
        assert!(aliases > 50, "{aliases}");
        // The names that the other tests fill are these.
        let made: BTreeSet<String> = all(&config).into_iter().collect();
        let listed = entries.iter().filter(|entry| entry.canonical.is_none()).map(|entry| entry.name.clone()).collect();
        assert_eq!(made, listed);
    }
}

/// Parameters as published: in all, by learning rate and by decay.
#[test]
fn parameter_counts() {
    let model = FocusDetrConfig::r50().init(&Device::flex().autodiff()).unwrap();
    let norm = |name: &str| name.contains(".bn") || name.contains(".downsample.1.");
    let (mut all, mut stem) = (0, 0);
    let mut groups = BTreeMap::<_, usize>::new();
    for info in parameters(&model) {
        let count: usize = info.shape.iter().product();
        if in_backbone(&info.name) && norm(&info.name) {
            continue; // fixed statistics, gains and shifts
        }
        all += count;
        if info.name == "backbone.conv1.weight" {
            stem += count;
            continue;
        }
        *groups.entry((in_backbone(&info.name), decays(&info.name))).or_default() += count;
    }
    assert_eq!((all, stem), (49_339_920, 9_408));
    let expected = [((true, true), 23_445_504), ((false, true), 25_862_992), ((false, false), 22_016)];
    assert_eq!(groups, expected.into_iter().collect());
}
