//! Looking into a model while it runs.

use burn::tensor::{Bool, Tensor};

/// What the token that answers, or the query, does with all its keys in a layer.
#[derive(Debug, Clone)]
pub struct Attention {
    /// `q k^T / sqrt(E)` of every head before padding is hidden, `[B, G, T]`.
    pub scores: Tensor<3>,
    /// Keys that are hidden, `[B, T]`; `None` if all are seen.
    pub padding: Option<Tensor<2, Bool>>,
}

/// Sees what is computed inside. Values are closures, so that nothing is computed for one who does not look.
pub trait Look {
    /// A value. `name` holds `{}` where the index of a layer belongs.
    fn see<const D: usize>(&mut self, name: &'static str, index: usize, value: impl FnOnce() -> Tensor<D>) {
        let _ = (name, index, value);
    }

    /// The attention of the answering token in a layer.
    fn attention(&mut self, layer: usize, attention: impl FnOnce() -> Attention) {
        let _ = (layer, attention);
    }
}

/// Sees nothing.
#[derive(Debug, Clone, Copy)]
pub struct Blind;

impl Look for Blind {}

/// Keeps the attention of the answering token in some layers.
#[derive(Debug)]
pub(crate) struct ScoresOf {
    /// The layers wanted; all if `None`.
    layers: Option<Vec<usize>>,
    /// What was found, in the order of the layers.
    pub(crate) found: Vec<Attention>,
}

impl ScoresOf {
    /// Of these layers.
    pub(crate) fn layers(layers: &[usize]) -> Self {
        Self { layers: Some(layers.to_vec()), found: Vec::new() }
    }

    /// Of all layers if asked for, else of none.
    pub(crate) fn all_if(asked: bool) -> Self {
        Self { layers: (!asked).then(Vec::new), found: Vec::new() }
    }
}

impl Look for ScoresOf {
    fn attention(&mut self, layer: usize, attention: impl FnOnce() -> Attention) {
        if self.layers.as_ref().is_none_or(|layers| layers.contains(&layer)) {
            self.found.push(attention());
        }
    }
}
