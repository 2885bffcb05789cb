//! What the tests of TransVG, VLTVG, QRNet and AttBalance share: names of the reference, batches of a case, and values seen inside a model.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Device, Gradients, Tensor, activation};
use groundling_core::ContentRect;
use groundling_models::backbone::BackboneConfig;
use groundling_models::bases::{Attention, Look};
use groundling_models::contract::{Batch, SampleTruth, System};
use groundling_nn::bert::BertConfig;
use groundling_nn::checkpoint::{Checkpoint, Rule, StoredTensor, destinations, gradients, load_into};
use groundling_nn::losses::{Denominator, corners, iou};
use groundling_nn::resnet::ResNetConfig;
use groundling_testkit::{Array, Case, Report};
use serde::Deserialize;

use crate::support;

pub(super) type Keys = Vec<(String, Vec<usize>)>;

/// A ResNet as a case states it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResNet {
    r#type: String,
    depth: usize,
    frozen_bn: bool,
    bn_eps: f64,
}

impl ResNet {
    /// With stem and first stage frozen, as the reference trains it.
    pub(super) fn config(&self) -> ResNetConfig {
        assert!(self.r#type == "resnet" && self.frozen_bn);
        let config = match self.depth {
            50 => ResNetConfig::r50(),
            101 => ResNetConfig::r101(),
            other => panic!("a ResNet of depth {other}"),
        };
        config.with_epsilon(self.bn_eps).with_frozen(2)
    }
}

/// A BERT as a case states it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bert {
    vocab: usize,
    hidden: usize,
    layers: usize,
    heads: usize,
    ffn: usize,
    max_positions: usize,
    types: usize,
    ln_eps: f64,
    activation: String,
    dropout: f64,
    pooler: bool,
}

impl Bert {
    /// Without the pooler: none of the models reads it.
    pub(super) fn config(&self) -> BertConfig {
        assert!(self.activation == "gelu_erf" && self.pooler);
        BertConfig {
            vocabulary: self.vocab,
            width: self.hidden,
            layers: self.layers,
            heads: self.heads,
            feed_forward: self.ffn,
            positions: self.max_positions,
            token_types: self.types,
            epsilon: self.ln_eps,
            dropout: self.dropout,
            pooler: false,
        }
    }
}

/// Names and shapes of a reference, as they are put together.
#[derive(Default)]
pub(super) struct Names(pub(super) Keys);

impl Names {
    pub(super) fn one(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.0.push((name.into(), shape.to_vec()));
    }

    /// A weight of this shape and a bias of its first axis.
    pub(super) fn pair(&mut self, name: impl AsRef<str>, shape: &[usize]) {
        let name = name.as_ref();
        self.one(format!("{name}.weight"), shape);
        self.one(format!("{name}.bias"), &shape[..1]);
    }

    /// Attention with queries, keys and values in one matrix.
    pub(super) fn packed(&mut self, name: &str, d: usize) {
        self.one(format!("{name}.in_proj_weight"), &[3 * d, d]);
        self.one(format!("{name}.in_proj_bias"), &[3 * d]);
        self.pair(format!("{name}.out_proj"), &[d, d]);
    }

    pub(super) fn encoder(&mut self, prefix: &str, layers: usize, d: usize, f: usize) {
        for layer in 0..layers {
            let prefix = format!("{prefix}.layers.{layer}");
            self.packed(&format!("{prefix}.self_attn"), d);
            self.pair(format!("{prefix}.linear1"), &[f, d]);
            self.pair(format!("{prefix}.linear2"), &[d, f]);
            self.pair(format!("{prefix}.norm1"), &[d]);
            self.pair(format!("{prefix}.norm2"), &[d]);
        }
    }

    pub(super) fn mlp(&mut self, prefix: &str, widths: &[usize]) {
        for (layer, pair) in widths.windows(2).enumerate() {
            self.pair(format!("{prefix}.layers.{layer}"), &[pair[1], pair[0]]);
        }
    }

    fn norm(&mut self, name: &str, channels: usize) {
        for part in ["weight", "bias", "running_mean", "running_var"] {
            self.one(format!("{name}.{part}"), &[channels]);
        }
    }

    /// Bottlenecks only.
    pub(super) fn resnet(&mut self, prefix: &str, config: &BackboneConfig) {
        let BackboneConfig::ResNet(config) = config else { panic!("only ResNets are published") };
        self.one(format!("{prefix}.conv1.weight"), &[config.width, 3, 7, 7]);
        self.norm(&format!("{prefix}.bn1"), config.width);
        let mut inputs = config.width;
        for (stage, outputs) in config.channels().into_iter().enumerate() {
            let width = config.width << stage;
            for block in 0..config.layers[stage] {
                let prefix = format!("{prefix}.layer{}.{block}", stage + 1);
                let convs = [[width, inputs, 1, 1], [width, width, 3, 3], [outputs, width, 1, 1]];
                for (index, shape) in convs.into_iter().enumerate() {
                    self.one(format!("{prefix}.conv{}.weight", index + 1), &shape);
                    self.norm(&format!("{prefix}.bn{}", index + 1), shape[0]);
                }
                if block == 0 {
                    self.one(format!("{prefix}.downsample.0.weight"), &[outputs, inputs, 1, 1]);
                    self.norm(&format!("{prefix}.downsample.1"), outputs);
                }
                inputs = outputs;
            }
        }
    }

    /// With a pooler.
    pub(super) fn bert(&mut self, prefix: &str, config: &BertConfig) {
        let (d, f) = (config.width, config.feed_forward);
        for (name, count) in
            [("word", config.vocabulary), ("position", config.positions), ("token_type", config.token_types)]
        {
            self.one(format!("{prefix}.embeddings.{name}_embeddings.weight"), &[count, d]);
        }
        self.pair(format!("{prefix}.embeddings.LayerNorm"), &[d]);
        for layer in 0..config.layers {
            let prefix = format!("{prefix}.encoder.layer.{layer}");
            for name in ["self.query", "self.key", "self.value", "output.dense"] {
                self.pair(format!("{prefix}.attention.{name}"), &[d, d]);
            }
            self.pair(format!("{prefix}.attention.output.LayerNorm"), &[d]);
            self.pair(format!("{prefix}.intermediate.dense"), &[f, d]);
            self.pair(format!("{prefix}.output.dense"), &[d, f]);
            self.pair(format!("{prefix}.output.LayerNorm"), &[d]);
        }
        self.pair(format!("{prefix}.pooler.dense"), &[d, d]);
    }
}

/// A line of a list of keys.
pub(super) struct Line {
    pub(super) shape: Vec<usize>,
    pub(super) float: bool,
    pub(super) trained: bool,
}

/// The list of a case of kind `state_dict_keys`.
pub(super) fn listed(case: &Case) -> BTreeMap<String, Line> {
    let text = std::fs::read_to_string(case.file()).unwrap();
    let line = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [key, shape, dtype, kind, trained] = fields[..] else { panic!("{line:?} is no key") };
        let shape = shape.split('x').filter(|size| !size.is_empty()).map(|size| size.parse().unwrap()).collect();
        let trained = kind == "param" && trained == "1";
        (key.to_owned(), Line { shape, float: dtype == "float32", trained })
    };
    text.lines().map(line).collect()
}

/// Compares a list with names put together here, and with a module: everything has a place, and what is trained there is trained here.
pub(super) fn check_keys<M: Module>(case: &Case, keys: &Keys, module: M, table: &[Rule]) {
    let listed = listed(case);
    let known: BTreeMap<String, Vec<usize>> = keys.iter().cloned().collect();
    assert_eq!(known.len(), keys.len());
    let shapes: BTreeMap<String, Vec<usize>> =
        listed.iter().map(|(key, line)| (key.clone(), line.shape.clone())).collect();
    assert_eq!(known, shapes, "{}", case.name());
    let plan = groundling_nn::checkpoint::plan(&module, &blank(shapes), table).unwrap();
    assert!(plan.report().is_complete() && plan.report().kept.is_empty(), "{}", plan.report());
    let trained = trainable(&module);
    for (key, line) in &listed {
        for place in destinations(key, table).unwrap() {
            assert_eq!(trained[&place], line.trained, "{key}");
            assert!(line.float, "{key}");
        }
    }
}

/// Whether each parameter of a module is trained.
pub(crate) fn trainable<M: Module>(module: &M) -> BTreeMap<String, bool> {
    use burn::module::{ModuleVisitor, Param};
    #[derive(Default)]
    struct Trained(Vec<bool>);
    impl ModuleVisitor for Trained {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(param.val().is_require_grad());
        }
    }
    let mut trained = Trained::default();
    module.visit(&mut trained);
    let names = groundling_nn::checkpoint::parameters(module).into_iter().map(|info| info.name);
    names.zip(trained.0).collect()
}

/// A module with a case's weights under the reference's names.
pub(super) fn filled<M: Module>(module: M, case: &Case, keys: &Keys, table: &[Rule]) -> M {
    let tensors = keys.iter().map(|(key, shape)| {
        // A value that the reference keeps is a constant, for which there is no place here.
        let stored = match case.parameter(key, &[0]) {
            Some(_) => {
                let (case, key, size) = (case.clone(), key.clone(), shape.clone());
                StoredTensor::from_fn(shape.clone(), move || case.parameter(&key, &size).unwrap().to_f32())
            }
            None => StoredTensor::from_values(shape.clone(), vec![0.0; shape.iter().product()]),
        };
        (key.clone(), stored)
    });
    let checkpoint = Checkpoint::from_tensors(tensors.collect::<Vec<_>>());
    let (module, report) =
        load_into(module, &checkpoint, table).unwrap_or_else(|error| panic!("{}: {error}", case.name()));
    assert!(report.kept.is_empty(), "{report}");
    module
}

/// The rectangle of zeros of each mask `[B, H, W]`.
pub(super) fn contents(pad_mask: &Array) -> Vec<ContentRect> {
    let [_, h, w] = pad_mask.shape[..] else { panic!("a mask for each picture") };
    let rect = |mask: &[f64]| {
        let shown: Vec<(usize, usize)> =
            (0..h * w).filter(|&index| mask[index] == 0.0).map(|index| (index / w, index % w)).collect();
        let range = |values: &mut dyn Iterator<Item = usize>| -> (u32, u32) {
            let (least, most) =
                values.fold((usize::MAX, 0), |(least, most), value| (least.min(value), most.max(value)));
            (least as u32, (most + 1 - least) as u32)
        };
        let (top, height) = range(&mut shown.iter().map(|place| place.0));
        let (left, width) = range(&mut shown.iter().map(|place| place.1));
        assert_eq!(shown.len(), (height * width) as usize, "what is shown is a rectangle");
        ContentRect { top, left, height, width }
    };
    pad_mask.data.chunks(h * w).map(rect).collect()
}

/// The batch of a case.
pub(super) fn batch(case: &Case, device: &Device) -> Batch {
    let tokens = case.input("token_mask");
    let length = tokens.shape[1];
    Batch {
        canvases: support::tensor(&case.input("image"), device),
        contents: contents(&case.input("pad_mask")),
        ids: support::ints(&case.input("ids"), device),
        lengths: tokens.data.chunks(length).map(|row| row.iter().sum::<f64>() as usize).collect(),
        erased: None,
        same_canvas: Batch::own_canvases(tokens.shape[0]),
    }
}

/// Truths from boxes `[B, 4]`.
pub(super) fn truths(boxes: &Array) -> Vec<SampleTruth> {
    let truth = |bbox: &[f64]| SampleTruth { bbox: Some(support::bbox(bbox)), ..SampleTruth::default() };
    boxes.data.chunks(4).map(truth).collect()
}

/// Keeps what a case wants of what is seen in a model. The reference has tokens before samples.
pub(super) struct Recorder<'a> {
    case: &'a Case,
    seen: BTreeMap<String, Array>,
    attention: Vec<Attention>,
    /// Names of token sequences; beginnings of names where they end in a dot.
    sequences: &'a [&'a str],
    /// A beginning of our names, and what the case has in its place.
    alias: (&'a str, &'a str),
    /// Values of layers that the case has as one.
    layers: BTreeMap<String, Vec<Array>>,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(case: &'a Case, sequences: &'a [&'a str]) -> Self {
        Self { case, seen: BTreeMap::new(), attention: Vec::new(), sequences, alias: ("", ""), layers: BTreeMap::new() }
    }

    pub(super) fn renamed(self, ours: &'a str, theirs: &'a str) -> Self {
        Self { alias: (ours, theirs), ..self }
    }

    /// Checks everything that was seen.
    pub(super) fn check(&self, report: &mut Report<'_>) {
        for (name, value) in &self.seen {
            report.check(name, value);
        }
        for (name, layers) in &self.layers {
            let mut shape = vec![layers.len()];
            shape.extend(&layers[0].shape);
            report
                .check(name, &Array::new(shape, layers.iter().flat_map(|layer| layer.data.iter().copied()).collect()));
        }
    }

    /// Scores and weights of the attention that was seen, `[layers, B, G, T]`.
    pub(super) fn attention(&self) -> (Array, Array) {
        let stacked = |of: &dyn Fn(&Attention) -> Tensor<3>| {
            support::array(Tensor::<3>::stack::<4>(self.attention.iter().map(of).collect(), 0))
        };
        let weights = |attention: &Attention| {
            let scores = attention.scores.clone();
            let hidden = match &attention.padding {
                Some(padding) => {
                    let shape = scores.dims();
                    scores.mask_fill(padding.clone().unsqueeze_dim::<3>(1).expand(shape), f32::NEG_INFINITY)
                }
                None => scores,
            };
            activation::softmax(hidden, 2)
        };
        (stacked(&|attention| attention.scores.clone()), stacked(&weights))
    }
}

impl Look for Recorder<'_> {
    fn see<const D: usize>(&mut self, name: &'static str, index: usize, value: impl FnOnce() -> Tensor<D>) {
        let wants = |name: &str| self.case.report().wants(name);
        if let Some(stacked) = name.strip_suffix(".{}").filter(|stacked| wants(stacked)) {
            self.layers.entry(stacked.to_owned()).or_default().push(support::array(value()));
            return;
        }
        let name = name.replace("{}", &index.to_string());
        let name = match name.strip_prefix(self.alias.0) {
            Some(rest) => format!("{}{rest}", self.alias.1),
            None => name,
        };
        if !wants(&name) {
            return;
        }
        let mut value = support::array(value());
        let fits = |sequence: &str| name == sequence || (sequence.ends_with('.') && name.starts_with(sequence));
        if self.sequences.iter().any(|sequence| fits(sequence)) {
            value = tokens_first(&value);
        }
        assert!(self.seen.insert(name.clone(), value).is_none(), "{name} twice");
    }

    fn attention(&mut self, layer: usize, attention: impl FnOnce() -> Attention) {
        assert_eq!(layer, self.attention.len());
        let Attention { scores, padding } = attention();
        self.attention
            .push(Attention { scores: scores.without_autodiff(), padding: padding.map(|p| p.without_autodiff()) });
    }
}

/// Axes 0 and 1 exchanged.
pub(super) fn tokens_first(array: &Array) -> Array {
    let (b, t) = (array.shape[0], array.shape[1]);
    let rest = array.data.len() / (b * t);
    let rows = (0..t).flat_map(|token| (0..b).map(move |sample| (sample * t + token) * rest));
    let data = rows.flat_map(|start| array.data[start..start + rest].iter().copied()).collect();
    let mut shape = array.shape.clone();
    shape.swap(0, 1);
    Array::new(shape, data)
}

/// The IoU of evaluation: corners of the prediction inside the canvas, something added to the union.
pub(super) fn eval_iou(boxes: Tensor<2>, target: &Array) -> Array {
    let boxes = boxes.without_autodiff();
    let target = support::tensor(target, &boxes.device());
    let inside = corners(boxes).clamp(0.0, 1.0);
    let (low, high) = (inside.clone().narrow(1, 0, 2), inside.narrow(1, 2, 2));
    let inside = Tensor::cat(vec![(low.clone() + high.clone()).mul_scalar(0.5), high - low], 1);
    support::array(iou(inside, target, Denominator::Plus(1e-16)))
}

/// Checks gradients by the reference's names, the norm of all, and how many of the reference's parameters have none.
pub(super) fn check_gradients<M: Module>(
    module: &M,
    grads: &Gradients,
    keys: &Keys,
    table: &[Rule],
    report: &mut Report<'_>,
    case: &Case,
) {
    let found: BTreeMap<String, (Vec<usize>, Vec<f32>)> =
        gradients(module, grads).into_iter().map(|(info, values)| (info.name, (info.shape, values))).collect();
    for (key, _) in keys {
        let of = format!("grad:{key}");
        if !report.wants(&of) {
            continue;
        }
        // Queries, keys and values stand one behind the other.
        let parts = destinations(key, table).unwrap();
        let parts: Vec<_> =
            parts.iter().map(|part| found.get(part).unwrap_or_else(|| panic!("no gradient of {part}"))).collect();
        let mut shape = parts[0].0.clone();
        shape[0] *= parts.len();
        let values: Vec<f32> = parts.iter().flat_map(|(_, values)| values.iter().copied()).collect();
        report.check(&of, &Array::from_values(shape, &values));
    }
    if report.wants("gradnorm_all") {
        let squares = found.values().flat_map(|(_, values)| values).map(|&value| f64::from(value).powi(2));
        report.check("gradnorm_all", &Array::scalar(squares.sum::<f64>().sqrt()));
    }
    if let Some(expected) = case.json.get("expect").and_then(|expect| expect["params_without_grad"].as_u64()) {
        let is_parameter = |key: &str| !key.contains(".bn") && !key.contains(".downsample.1.");
        let without = keys.iter().filter(|(key, _)| {
            is_parameter(key) && !destinations(key, table).unwrap().iter().any(|place| found.contains_key(place))
        });
        assert_eq!(without.count() as u64, expected, "{}", case.name());
    }
}

/// The case with limits of gradients of at least this share of the largest element: what its makers measured between 32 and 64 bits.
///
/// The stated limits of some gradients come from runs in which no ReLU close to zero changed its side; in ours one does.
pub(super) fn with_least_limits(case: &Case, share: f64) -> Case {
    let mut loose = case.clone();
    let outputs = case.json["outputs"].as_object().unwrap();
    let largest = |of: &serde_json::Value| {
        let stored = outputs.iter().filter(|(_, spec)| spec["of"] == *of).flat_map(|(key, _)| case.tensor(key).data);
        stored.map(f64::abs).fold(0.0, f64::max)
    };
    for (key, spec) in outputs {
        let is_gradient = spec["of"].as_str().is_some_and(|of| of.starts_with("grad:"));
        if let Some(limit) = spec["atol"].as_f64().filter(|_| is_gradient) {
            loose.json["outputs"][key]["atol"] = limit.max(share * largest(&spec["of"])).into();
        }
    }
    loose
}

/// One large model after the other: together they would need the memory of all.
pub(super) fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A checkpoint of these names; what stands in it does not matter.
pub(super) fn blank(keys: impl IntoIterator<Item = (String, Vec<usize>)>) -> Checkpoint {
    Checkpoint::from_tensors(keys.into_iter().map(|(key, shape)| {
        let count = shape.iter().product();
        (key, StoredTensor::from_fn(shape, move || vec![0.0; count]))
    }))
}

/// Checks that a layout takes everything of a checkpoint, and that it leaves alone what begins with one of these names and nothing else.
pub(super) fn check_layout<M: System>(model: &M, layout: &str, checkpoint: &Checkpoint, kept: &[&str]) {
    let rules = M::layouts(model.config()).into_iter().find(|known| known.name == layout).unwrap().rules;
    let plan = groundling_nn::checkpoint::plan(model, checkpoint, &rules).unwrap();
    let report = plan.report();
    assert!(report.is_complete() && report.loaded > 0, "{layout}: {report}");
    for info in groundling_nn::checkpoint::parameters(model) {
        let stays = report.kept.iter().any(|(name, _)| *name == info.name);
        assert_eq!(stays, kept.iter().any(|part| info.name.starts_with(part)), "{layout}: {}", info.name);
    }
}

/// The names of a part of a checkpoint behind another prefix.
pub(super) fn part(keys: &Keys, from: &str, to: &str) -> Keys {
    let renamed =
        keys.iter().filter_map(|(key, shape)| Some((format!("{to}{}", key.strip_prefix(from)?), shape.clone())));
    renamed.collect()
}
