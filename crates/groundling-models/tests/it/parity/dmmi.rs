//! DMMI against its reference: pieces, whole networks, steps of training, names of released checkpoints.

mod forward;
mod import;
mod parts;
mod step;

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::Gradients;
use groundling_models::dmmi::{Backbone, DmmiConfig, TextConfig};
use groundling_nn::checkpoint::{Checkpoint, Rule, StoredTensor, destinations, gradients, load_into, parameters};
use groundling_testkit::goldens::{read_json, visible_root};
use groundling_testkit::{Array, Case};
use serde::Deserialize;

/// A state dict: names and shapes.
type Keys = Vec<(String, Vec<usize>)>;

/// The sizes that a case of a whole network states.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sizes {
    backbone: Backbone,
    image_size: usize,
    text_dim: usize,
    text_len: usize,
    decoder_dim: usize,
    decoder_heads: usize,
    decoder_ffn: usize,
    classes: usize,
    dropout: f64,
    text: Text,
    #[allow(dead_code, reason = "read by the test of steps")]
    loss: Option<serde_json::Value>,
    #[allow(dead_code, reason = "read by the test of steps")]
    optimizer: Option<serde_json::Value>,
}

/// Where embeddings come from.
#[derive(Deserialize, Clone, PartialEq)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum Text {
    /// They are inputs.
    Uniform {},
    /// From ids.
    Bert {
        key_prefix: String,
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
    },
}

/// The configuration of a case, and where its embeddings come from. A case whose embeddings are inputs gets the smallest phrase encoder.
fn config(case: &Case) -> (DmmiConfig, Text) {
    let sizes: Sizes = case.config();
    assert_eq!((sizes.classes, sizes.text_dim), (2, sizes.decoder_dim), "{}", case.name());
    let width = sizes.text_dim;
    let text = match &sizes.text {
        Text::Uniform {} => TextConfig {
            vocab: 103,
            width,
            layers: 1,
            heads: 1,
            mlp_hidden: 1,
            positions: sizes.text_len,
            ln_eps: 1e-12,
        },
        Text::Bert {
            vocab,
            hidden,
            layers,
            heads,
            ffn,
            max_positions,
            types,
            ln_eps,
            activation,
            dropout,
            pooler,
            ..
        } => {
            assert_eq!(
                (*types, activation.as_str(), *dropout, *pooler),
                (2, "gelu_erf", 0.0, false),
                "{}",
                case.name()
            );
            assert_eq!(*hidden, width);
            TextConfig {
                vocab: *vocab,
                width,
                layers: *layers,
                heads: *heads,
                mlp_hidden: *ffn,
                positions: *max_positions,
                ln_eps: *ln_eps,
            }
        }
    };
    let config = DmmiConfig {
        image_size: sizes.image_size,
        text_len: sizes.text_len,
        backbone: sizes.backbone,
        text,
        regions: vec![1, 3, 5],
        spans: vec![1, 2, 3],
        decoder_heads: sizes.decoder_heads,
        decoder_ffn: sizes.decoder_ffn,
        dropout: sizes.dropout,
        absence_layers: 0,
        moves: Vec::new(),
    };
    config.check().unwrap();
    (config, sizes.text)
}

/// The names of a released checkpoint, with shapes of its sizes.
fn released(file: &str) -> BTreeMap<String, Vec<usize>> {
    serde_json::from_value(read_json(&visible_root().join("dmmi").join(file))).unwrap()
}

/// The names of a released checkpoint for a backbone of other depths; shapes are still the released ones.
fn names(backbone: &Backbone) -> Keys {
    let (file, depths) = match backbone {
        Backbone::Swin { depths, .. } => ("keys_swin_base.json", depths),
        Backbone::Resnet { depths, .. } => ("keys_resnet101.json", depths),
        Backbone::ScalableVit(_) => panic!("nobody has published one"),
    };
    let mut keys = Keys::new();
    for (key, shape) in released(file) {
        match block(&key) {
            None => keys.push((key, shape)),
            Some((before, stage, number, after)) => {
                // The first block may have what others lack; all others are alike.
                let copies = if number == 0 { 0..1 } else { 1..depths[stage] };
                if number <= 1 {
                    keys.extend(copies.map(|copy| (format!("{before}{copy}.{after}"), shape.clone())));
                }
            }
        }
    }
    keys
}

/// `(name before the number of a block, its stage, the number, the rest)`.
fn block(key: &str) -> Option<(String, usize, usize, String)> {
    let parts: Vec<&str> = key.split('.').collect();
    let (stage, place) = match parts[..] {
        ["backbone", "layers", stage, "blocks", ..] => (stage.parse::<usize>().ok()?, 4),
        ["backbone", "layer1", "4", ..] => (0, 3),
        ["backbone", "layer1", ..] => return None,
        ["backbone", layer, ..] => (layer.strip_prefix("layer")?.parse::<usize>().ok()? - 1, 2),
        _ => return None,
    };
    let number = parts.get(place)?.parse().ok()?;
    Some((format!("{}.", parts[..place].join(".")), stage, number, parts[place + 1..].join(".")))
}

/// The names of a list with the shapes that they have for a module: as many axes as in the list, sizes of the module.
fn sized<M: Module>(keys: impl IntoIterator<Item = (String, Vec<usize>)>, module: &M, table: &[Rule]) -> Keys {
    let own: BTreeMap<String, Vec<usize>> =
        parameters(module).into_iter().map(|info| (info.name, info.shape)).collect();
    let one = |(key, listed): (String, Vec<usize>)| {
        let parts = destinations(&key, table).unwrap();
        let shapes: Vec<&Vec<usize>> = parts.iter().filter_map(|part| own.get(part)).collect();
        if shapes.is_empty() {
            return (key, listed);
        }
        let rows: usize = shapes.iter().map(|shape| shape[0]).sum();
        let rest = &shapes[0][1..];
        let shape = match listed.len() {
            1 => vec![rows],
            2 => vec![rows, rest.iter().product()],
            3 => vec![rows, rest.iter().product(), 1],
            _ => [&[rows][..], rest].concat(),
        };
        (key, shape)
    };
    keys.into_iter().map(one).collect()
}

/// The part of the released names under a prefix, without it.
fn under(prefix: &str) -> Keys {
    let all = released("keys_swin_base.json").into_iter();
    all.filter_map(|(key, shape)| Some((key.strip_prefix(prefix)?.to_owned(), shape))).collect()
}

/// A module with the case's weights, loaded through its key table; and the names with their shapes.
fn filled<M: Module>(module: M, case: &Case, keys: Keys, table: &[Rule]) -> (M, Keys) {
    let keys = sized(keys, &module, table);
    let checkpoint = filled_as(case, &keys, str::to_owned);
    let loaded = load_into(module, &checkpoint, table);
    (loaded.unwrap_or_else(|error| panic!("{}: {error}", case.name())).0, keys)
}

/// A checkpoint of these names whose tensors are filled under other ones.
fn filled_as(case: &Case, keys: &Keys, name_of: impl Fn(&str) -> String) -> Checkpoint {
    let case = std::sync::Arc::new(case.clone());
    Checkpoint::from_tensors(keys.iter().map(|(key, shape)| {
        let (case, name, size) = (case.clone(), name_of(key), shape.clone());
        let fill = move || match case.parameter(&name, &size) {
            Some(array) => array.to_f32(),
            None => vec![0.0; size.iter().product()],
        };
        (key.clone(), StoredTensor::from_fn(shape.clone(), fill))
    }))
}

/// Gradients, or values, of a module by the reference's names and in its shapes.
struct ByKey {
    own: BTreeMap<String, Vec<f32>>,
    shapes: BTreeMap<String, Vec<usize>>,
    table: &'static [Rule],
}

impl ByKey {
    fn gradients<M: Module>(module: &M, all: &Gradients, keys: &Keys, table: &'static [Rule]) -> Self {
        let own = gradients(module, all).into_iter().map(|(info, values)| (info.name, values)).collect();
        Self { own, shapes: keys.iter().cloned().collect(), table }
    }

    /// What is known under a name; parts of a packed tensor stand one behind the other.
    fn get(&self, key: &str) -> Option<Array> {
        let parts = destinations(key, self.table).unwrap();
        let values: Option<Vec<&Vec<f32>>> = parts.iter().map(|part| self.own.get(part)).collect();
        let values = values.filter(|parts| !parts.is_empty())?.into_iter().flatten().copied().collect::<Vec<f32>>();
        Some(Array::from_values(self.shapes[key].clone(), &values))
    }
}

/// The outputs `grad:KEY` of a case.
fn gradient_outputs(case: &Case) -> Vec<String> {
    let outputs = case.json["outputs"].as_object().unwrap().values();
    outputs.filter_map(|spec| spec["of"].as_str()?.strip_prefix("grad:").map(str::to_owned)).collect()
}
