//! Focus-DETR: its pieces, its encoders and decoder, whole models with losses and gradients, key lists and learning rates.

mod model;
mod names;
mod pieces;
mod training;

use std::collections::{BTreeMap, BTreeSet};

use burn::module::Module;
use burn::tensor::{Bool, Device, Gradients, Tensor, TensorData};
use groundling_core::ImageSize;
use groundling_models::focus_detr::{
    BackboneConfig, DecoderKind, EncoderConfig, FocusConfig, FocusDetr, FocusDetrConfig, PositionConfig,
};
use groundling_nn::checkpoint::{Checkpoint, Rule, StoredTensor, destinations, gradients, load_into, parameters};
use groundling_nn::resnet::ResNetConfig;
use groundling_nn::swin::SwinConfig;
use groundling_testkit::{Array, Case, Report, fill};
use serde::Deserialize;

use crate::support;

/// Everything a configuration of this folder's networks may say.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    num_classes: usize,
    dim: usize,
    heads: usize,
    ffn: usize,
    levels: usize,
    points: usize,
    encoder_layers: usize,
    decoder_layers: usize,
    dropout: f64,
    #[serde(default = "yes")]
    two_stage: bool,
    position_temperature: f64,
    position_offset: f64,
    backbone: Option<BackboneSpec>,
    num_queries: usize,
    image: Option<[u32; 2]>,
    #[serde(default)]
    level_sizes: Vec<[usize; 2]>,
    topk_sa: Option<usize>,
    rho: Option<f32>,
    num_dn: Option<usize>,
    dn_number: Option<usize>,
    label_noise_ratio: Option<f64>,
    box_noise_scale: Option<f64>,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum BackboneSpec {
    Resnet {
        depth: usize,
        frozen_bn: bool,
        bn_eps: f64,
    },
    Swin {
        in_channels: usize,
        patch: usize,
        embed_dim: usize,
        depths: [usize; 4],
        heads: [usize; 4],
        window: usize,
        mlp_ratio: f64,
        qkv_bias: bool,
        patch_norm: bool,
        drop_path: f64,
        ln_eps: f64,
    },
}

impl BackboneSpec {
    fn config(&self) -> BackboneConfig {
        match *self {
            Self::Resnet { depth, frozen_bn, bn_eps } => {
                assert!(frozen_bn);
                let config = match depth {
                    50 => ResNetConfig::r50(),
                    101 => ResNetConfig::r101(),
                    other => panic!("no ResNet-{other}"),
                };
                BackboneConfig::ResNet(config.with_epsilon(bn_eps))
            }
            Self::Swin {
                in_channels,
                patch,
                embed_dim,
                depths,
                heads,
                window,
                mlp_ratio,
                qkv_bias,
                patch_norm,
                drop_path,
                ln_eps,
            } => BackboneConfig::Swin(
                SwinConfig::new(embed_dim, depths, heads, window)
                    .with_in_channels(in_channels)
                    .with_patch(patch)
                    .with_mlp_ratio(mlp_ratio)
                    .with_qkv_bias(qkv_bias)
                    .with_patch_norm(patch_norm)
                    .with_drop_path(drop_path)
                    .with_epsilon(ln_eps),
            ),
        }
    }
}

impl Config {
    /// The network's configuration.
    fn detector(&self) -> FocusDetrConfig {
        assert!(self.levels == 4 && self.dropout == 0.0 && self.two_stage, "{self:?}");
        let published = FocusConfig::published();
        let (encoder, decoder) = match self.rho {
            Some(keep) => (EncoderConfig::Sparse { keep }, DecoderKind::TwoStage),
            None => {
                let fine_tokens = self.topk_sa.unwrap_or(published.fine_tokens);
                (EncoderConfig::Focus(FocusConfig { fine_tokens, ..published }), DecoderKind::Dino)
            }
        };
        FocusDetrConfig {
            backbone: match &self.backbone {
                Some(spec) => spec.config(),
                None => BackboneConfig::ResNet(ResNetConfig::tiny()),
            },
            classes: self.num_classes,
            width: self.dim,
            heads: self.heads,
            points: self.points,
            feed_forward: self.ffn,
            encoder_layers: self.encoder_layers,
            decoder_layers: self.decoder_layers,
            queries: self.num_queries,
            position: PositionConfig { temperature: self.position_temperature, offset: self.position_offset },
            encoder,
            decoder,
            ..FocusDetrConfig::r50()
        }
    }

    /// The same behind a narrow backbone, for cases that give its maps.
    fn transformer(&self) -> FocusDetrConfig {
        FocusDetrConfig { backbone: BackboneConfig::ResNet(ResNetConfig::tiny()), ..self.detector() }
    }

    fn canvas(&self) -> ImageSize {
        let [height, width] = self.image.unwrap();
        ImageSize::new(height, width).unwrap()
    }
}

/// A module with the case's weights under the reference's names, through the key table; parameters that none of the names means are ones.
fn filled<M: Module>(module: M, case: &Case, names: &[String], keys: &[Rule]) -> M {
    let shapes: BTreeMap<String, Vec<usize>> =
        parameters(&module).into_iter().map(|info| (info.name, info.shape)).collect();
    let mut left: BTreeSet<String> = shapes.keys().cloned().collect();
    let mut tensors = Vec::new();
    for name in names {
        let own = destinations(name, keys).unwrap();
        let known = own.first().and_then(|own| shapes.get(own));
        let mut shape = known.unwrap_or_else(|| panic!("{}: {name} goes to {own:?}", case.name())).clone();
        shape[0] *= own.len();
        own.iter().for_each(|own| assert!(left.remove(own), "{own} twice"));
        tensors.push((name.clone(), StoredTensor::from_values(shape.clone(), value(case, name, &shape).to_f32())));
    }
    for own in left {
        let count = shapes[&own].iter().product();
        tensors.push((own.clone(), StoredTensor::from_values(shapes[&own].clone(), vec![1.0; count])));
    }
    let loaded = load_into(module, &Checkpoint::from_tensors(tensors), keys);
    loaded.unwrap_or_else(|error| panic!("{}: {error}", case.name())).0
}

/// A parameter by its full name: heads that stand outside of the case's module are filled under their own.
fn value(case: &Case, name: &str, shape: &[usize]) -> Array {
    let prefix = case.json.get("key_prefix").and_then(|prefix| prefix.as_str()).unwrap_or("");
    match name.strip_prefix(prefix) {
        Some(key) => case.parameter(key, shape).unwrap(),
        None => fill::parameter(name, shape, case.seed()),
    }
}

/// Gradients of a module, found by the reference's full names.
struct Found(BTreeMap<String, Array>);

impl Found {
    fn new<M: Module>(module: &M, grads: &Gradients) -> Self {
        let found = gradients(module, grads).into_iter();
        Self(found.map(|(info, values)| (info.name, Array::from_values(info.shape, &values))).collect())
    }

    fn get(&self, name: &str, keys: &[Rule]) -> Option<Array> {
        let own = destinations(name, keys).unwrap();
        let parts: Vec<&Array> = own.iter().map(|own| self.0.get(own)).collect::<Option<_>>()?;
        let mut shape = parts.first()?.shape.clone();
        shape[0] *= parts.len();
        Some(Array::new(shape, parts.iter().flat_map(|part| part.data.iter().copied()).collect()))
    }

    /// Checks every `grad:` output of the case; `full` gives the full name of a key.
    fn check(&self, case: &Case, keys: &[Rule], full: impl Fn(&str) -> String, report: &mut Report<'_>) {
        for spec in case.json["outputs"].as_object().unwrap().values() {
            let of = spec["of"].as_str().unwrap();
            let Some(key) = of.strip_prefix("grad:") else { continue };
            let found = self.get(&full(key), keys);
            report.check(of, &found.unwrap_or_else(|| panic!("{}: no gradient of {key}", case.name())));
        }
    }
}

/// An input that gets a gradient if the device takes any.
fn tracked<const D: usize>(case: &Case, name: &str, device: &Device) -> Tensor<D> {
    let x = support::tensor::<D>(&case.input(name), device);
    if device.is_autodiff() { x.require_grad() } else { x }
}

fn bools<const D: usize>(array: &Array, device: &Device) -> Tensor<D, Bool> {
    let values: Vec<bool> = array.data.iter().map(|&value| value == 1.0).collect();
    Tensor::from_data(TensorData::new(values, array.shape.clone()), device)
}

/// Whole numbers, one list for each image, as an array.
fn lists(places: &[Vec<usize>]) -> Array {
    let columns = places.first().map_or(0, Vec::len);
    Array::new([places.len(), columns], places.iter().flatten().map(|&place| place as f64).collect())
}

/// Whole numbers as an array of one axis.
fn list(values: &[usize]) -> Array {
    Array::new([values.len()], values.iter().map(|&value| value as f64).collect())
}

/// Heights and widths of images.
fn sizes(case: &Case, input: &str) -> Vec<ImageSize> {
    let size = |pair: &[f64]| ImageSize::new(pair[0] as u32, pair[1] as u32).unwrap();
    case.input(input).data.chunks_exact(2).map(size).collect()
}

/// The maps `feat0`, `feat1`, ..
fn maps(case: &Case, levels: usize, device: &Device) -> Vec<Tensor<4>> {
    (0..levels).map(|level| support::tensor(&case.input(&format!("feat{level}")), device)).collect()
}

/// Positions 0.. of the outputs called `stem` and a number.
fn numbered(case: &Case, stem: &str) -> Vec<usize> {
    let outputs = case.json["outputs"].as_object().unwrap();
    let number = |spec: &serde_json::Value| spec["of"].as_str()?.strip_prefix(stem)?.parse().ok();
    outputs.values().filter_map(number).collect()
}

/// The network behind the maps, with the case's weights.
fn transformer(case: &Case, config: &Config, encoder: Option<EncoderConfig>, device: &Device) -> FocusDetr {
    let mut detector = config.transformer();
    detector.encoder = encoder.unwrap_or(detector.encoder);
    let names = names::transformer(&detector);
    filled(detector.init(device).unwrap(), case, &names, names::keys(&detector))
}
