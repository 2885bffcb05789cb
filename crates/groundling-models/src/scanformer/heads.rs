//! What reads tokens: the box, the choice of what the next level reads, and auxiliary heads of training.

use burn::module::Module;
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor, activation};
use groundling_kernels::Activation;
use groundling_nn::layers::{Dense, PrepareInference, TokenNorm};

use super::criterion::Criterion;
use super::{ScanFormerConfig, init};

/// The box of a level, from its answering token.
#[derive(Module, Debug)]
pub(super) struct BoxHead {
    fc1: Dense,
    fc2: Dense,
    fc3: Dense,
}

impl BoxHead {
    pub(super) fn new(config: &ScanFormerConfig, device: &Device) -> Self {
        let d = config.dim;
        Self { fc1: init::dense(d, d, device), fc2: init::dense(d, d, device), fc3: init::dense(d, 4, device) }
    }

    /// # Shapes
    /// - `answers` `[B, S, D]`, after the final norm
    /// - returns `[B, S, 4]`: centre x, centre y, width, height in fractions of the canvas
    pub(super) fn forward(&self, answers: Tensor<3>) -> Tensor<3> {
        let hidden = self.fc1.forward_then(answers, Activation::Relu);
        activation::sigmoid(self.fc3.forward(self.fc2.forward_then(hidden, Activation::Relu)))
    }
}

impl PrepareInference for BoxHead {
    fn prepare_inference(&mut self) {
        [&mut self.fc1, &mut self.fc2, &mut self.fc3].into_iter().for_each(Dense::prepare_inference);
    }
}

/// A selection value for each of the four parts of a patch.
#[derive(Module, Debug)]
pub(super) struct SelectionHead {
    norm: TokenNorm,
    fc1: Dense,
    fc2: Dense,
}

impl SelectionHead {
    pub(super) fn new(config: &ScanFormerConfig, device: &Device) -> Self {
        let d = config.dim;
        Self {
            norm: TokenNorm::new(d, config.ln_eps, device),
            fc1: init::dense(d, d, device),
            fc2: init::dense(d, 4, device),
        }
    }

    /// Selection values far above the usual threshold, for every patch. Not so far that training could not lower them.
    pub(super) fn keep_everything(&mut self) {
        let ([inputs, outputs], device) = (self.fc2.weight.dims(), self.fc2.weight.val().device());
        self.fc2.weight = init::zeros([inputs, outputs], &device);
        self.fc2.bias = Some(Initializer::Constant { value: 4.0 }.init([outputs], &device));
    }

    /// # Shapes
    /// - `patches` `[B, N, D]`, after the first encoder
    /// - returns `[B, N, 4]`: top left, top right, bottom left, bottom right
    pub(super) fn forward(&self, patches: Tensor<3>) -> Tensor<3> {
        self.fc2.forward(self.fc1.forward_then(self.norm.forward(patches), Activation::Gelu))
    }
}

impl PrepareInference for SelectionHead {
    fn prepare_inference(&mut self) {
        [&mut self.fc1, &mut self.fc2].into_iter().for_each(Dense::prepare_inference);
    }
}

/// From four numbers for each patch of a level to one for each patch of the next, in raster order: `[B, N, 4]` to `[B, 4 N]`.
pub(super) fn unfold(slots: Tensor<3>, grid: usize) -> Tensor<2> {
    let b = slots.dims()[0];
    // (row, column, lower, right) to (row, lower, column, right).
    slots.reshape([b, grid, grid, 2, 2]).permute([0, 1, 3, 2, 4]).reshape([b, 4 * grid * grid])
}

/// From one number for each patch of a level to the same for each of its parts: `[B, N]` to `[B, 4 N]`.
pub(super) fn inherit(values: Tensor<2>, grid: usize) -> Tensor<2> {
    let b = values.dims()[0];
    let spread = values.reshape([b, grid, 1, grid, 1]).expand([b, grid, 2, grid, 2]);
    spread.reshape([b, 4 * grid * grid])
}

/// Heads that only training reads; no part of the published weights.
#[derive(Module, Debug)]
pub(super) struct Auxiliary {
    norm: TokenNorm,
    /// Whether a patch belongs to what the phrase refers to.
    target: Option<Dense>,
    /// Class of the object at a patch; the last is background.
    class: Option<Dense>,
    /// Whether the phrase's head noun fits the object at a patch, and whether another of its nouns does.
    named: Option<Named>,
}

/// Reads patches in the middle of the layers.
#[derive(Module, Debug)]
struct Named {
    norm: TokenNorm,
    head: Dense,
}

impl Auxiliary {
    /// The heads that a criterion asks for; `None` if it asks for none.
    pub(super) fn new(config: &ScanFormerConfig, criterion: &Criterion, device: &Device) -> Option<Self> {
        let (target, named) = (criterion.reads_targets(), criterion.reads_named());
        let classes = if criterion.reads_classes() { criterion.classes } else { 0 };
        (target || named || classes > 0).then(|| Self {
            norm: TokenNorm::new(config.dim, config.ln_eps, device),
            target: target.then(|| init::dense(config.dim, 1, device)),
            class: (classes > 0).then(|| init::dense(config.dim, classes + 1, device)),
            named: named.then(|| Named {
                norm: TokenNorm::new(config.dim, config.ln_eps, device),
                head: init::dense(config.dim, 2, device),
            }),
        })
    }

    /// Logits `[B, N, 2]` of patches `[B, N, D]` in the middle of the layers.
    pub(super) fn named(&self, patches: Tensor<3>) -> Option<Tensor<3>> {
        self.named.as_ref().map(|named| named.head.forward(named.norm.forward(patches)))
    }

    /// Logits of `[B, N, D]`: `[B, N]` of belonging to the target, `[B, N, classes + 1]`.
    pub(super) fn forward(&self, patches: Tensor<3>) -> (Option<Tensor<2>>, Option<Tensor<3>>) {
        let [b, n, _] = patches.dims();
        let h = self.norm.forward(patches);
        let target = self.target.as_ref().map(|head| head.forward(h.clone()).reshape([b, n]));
        (target, self.class.as_ref().map(|head| head.forward(h)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Int;

    #[test]
    fn slots_go_to_their_places() {
        let device = Device::flex();
        let slots = Tensor::<1, Int>::arange(0..16, &device).float().reshape([1, 4, 4]);
        let raster: Vec<f32> = unfold(slots, 2).into_data().try_to_vec().unwrap();
        assert_eq!(raster, [0., 1., 4., 5., 2., 3., 6., 7., 8., 9., 12., 13., 10., 11., 14., 15.]);
        let parents = Tensor::<1, Int>::arange(0..4, &device).float().reshape([1, 4]);
        let raster: Vec<f32> = inherit(parents, 2).into_data().try_to_vec().unwrap();
        assert_eq!(raster, [0., 0., 1., 1., 0., 0., 1., 1., 2., 2., 3., 3., 2., 2., 3., 3.]);
    }
}
