//! Multi-scale bi-directional attention (Sec. 3.2 of the paper): pixels ask tokens over windows of pixels, tokens ask pixels over windows
//! of tokens, and each side takes in what it was answered.
//!
//! PARITY: a window is no sum of similarities, as in the paper, but a learned mixing of its members, of fewer channels the larger it is;
//! windows of tokens are centred, not begun, at their token; both directions divide by the root of the stage's channels, wherever the
//! inner width is another; the attended values are multiplied with the projected map and come back through a learned gate.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, assert_shape};
use groundling_kernels::{gelu, softmax_columns};
use groundling_nn::layers::{Convolution, Dense, PrepareInference};
use groundling_nn::norms::instance_norm;

use super::config::{region_width, span_width};
use super::norms::{convolution, dense};
use super::observe::Observer;

/// What is added to the score of a token that is padding.
const PADDING: f64 = -10_000.0;

/// The phrase beside the image.
#[derive(Debug, Clone)]
pub struct Language {
    /// `[B, L, D]`.
    pub tokens: Tensor<3>,
    /// `[B, L]`, 1 for a real token, 0 for padding.
    pub valid: Tensor<2>,
}

/// What a block makes of a map and a phrase.
#[derive(Debug, Clone)]
pub struct Fused {
    /// What the phrase says about the map, `[B, C, H, W]`.
    pub residual: Tensor<4>,
    /// The phrase, with what the map says about it, `[B, L, D]`.
    pub language: Tensor<3>,
}

/// Sizes of an [`Mba`].
#[derive(Debug, Clone)]
pub struct MbaConfig {
    /// Channels `C` of the map.
    pub channels: usize,
    /// Width `D` of the tokens.
    pub width: usize,
    /// Sides of the windows of pixels.
    pub regions: Vec<usize>,
    /// Lengths of the windows of tokens; none leaves the phrase as it is.
    pub spans: Vec<usize>,
    /// Whether the gate is used; a gate that is not gets no gradient.
    pub gated: bool,
}

impl MbaConfig {
    /// The module with random weights.
    pub fn init(&self, device: &Device) -> Mba {
        let (c, d) = (self.channels, self.width);
        let over_map = |outputs: usize| convolution(c, outputs, 1, true, device);
        let asks = !self.spans.is_empty();
        let region = |&side: &usize| {
            let inner = region_width(c, side);
            Region {
                key: dense(d, c, device),
                query: over_map(inner),
                window: convolution(inner, c, side, true, device),
            }
        };
        let span = |&span: &usize| {
            let inner = span_width(c, span);
            Span { key: over_map(d), query: dense(d, inner, device), window: dense(inner * span, d, device), span }
        };
        let gate = || {
            let mut gate = convolution(c, c, 1, false, device);
            gate.weight = gate.weight.set_require_grad(self.gated);
            gate
        };
        Mba {
            visual_project: over_map(c),
            joint_project: over_map(c),
            text_value: dense(d, c, device),
            visual_value: asks.then(|| over_map(d)),
            visual_out: over_map(c),
            text_out: asks.then(|| dense(d, d, device)),
            regions: self.regions.iter().map(region).collect(),
            spans: self.spans.iter().map(span).collect(),
            region_mix: Initializer::Ones.init([self.regions.len()], device),
            span_mix: Initializer::Ones.init([self.spans.len()], device),
            gate_in: gate(),
            gate_out: gate(),
            text_update: asks.then(|| dense(d, d, device)),
        }
    }
}

/// The block of one stage.
#[derive(Module, Debug)]
pub struct Mba {
    visual_project: Convolution,
    joint_project: Convolution,
    text_value: Dense,
    visual_value: Option<Convolution>,
    visual_out: Convolution,
    text_out: Option<Dense>,
    regions: Vec<Region>,
    spans: Vec<Span>,
    region_mix: Param<Tensor<1>>,
    span_mix: Param<Tensor<1>>,
    gate_in: Convolution,
    gate_out: Convolution,
    text_update: Option<Dense>,
}

impl Mba {
    /// Reads map and phrase, both as they come in: neither direction sees what the other changed.
    ///
    /// # Shapes
    /// - `x` `[B, C, H, W]` of more than one pixel
    ///
    /// # Panics
    /// If shapes disagree.
    pub fn forward(&self, x: Tensor<4>, language: &Language, observer: &mut Observer<'_>) -> Fused {
        let [b, c, h, w] = x.dims();
        let [_, l, d] = language.tokens.dims();
        assert_shape!(language.tokens, [b, l, d]);
        assert_shape!(language.valid, [b, l]);
        let attended = self.ask_phrase(x.clone(), language, observer).reshape([b, c, h, w]);
        observer.see("attended", &attended);
        let visual = gelu(self.visual_project.forward(x.clone()));
        observer.see("visual", &visual);
        let residual = gelu(self.joint_project.forward(visual * attended));
        observer.see("residual", &residual);
        let mut tokens = language.tokens.clone();
        if let (Some(update), Some(answered)) = (&self.text_update, self.ask_map(x, language, observer)) {
            observer.see("answered", &answered);
            tokens = tokens + gelu(update.forward(answered));
        }
        observer.see("language", &tokens);
        Fused { residual, language: tokens }
    }

    /// The map with as much of the residual as the gate lets through, `[B, C, H, W]`.
    pub fn gated(&self, x: Tensor<4>, residual: Tensor<4>, observer: &mut Observer<'_>) -> Tensor<4> {
        let inner = burn::tensor::activation::relu(self.gate_in.forward(residual.clone()));
        let gate = groundling_kernels::tanh(self.gate_out.forward(inner));
        observer.see("gate", &gate);
        x + gate * residual
    }

    /// What the tokens say to each pixel, `[B, C, N]`.
    fn ask_phrase(&self, x: Tensor<4>, language: &Language, observer: &mut Observer<'_>) -> Tensor<3> {
        let [b, c, h, w] = x.dims();
        let scale = (c as f64).powf(-0.5);
        let valid = language.valid.clone().unsqueeze_dim::<3>(2); // [B, L, 1]
        let penalty = valid.clone().neg().add_scalar(1.0).mul_scalar(PADDING);
        let value = self.text_value.forward(language.tokens.clone()) * valid.clone(); // [B, L, C]
        let shares = softmax(self.region_mix.val(), 0);
        let mut total: Option<Tensor<3>> = None;
        for (index, region) in self.regions.iter().enumerate() {
            let query = region.queries(x.clone()); // [B, C, N]
            let key = region.key.forward(language.tokens.clone()) * valid.clone(); // [B, L, C]
            let scores = key.matmul(query).mul_scalar(scale) + penalty.clone();
            let map = softmax_columns(scores); // [B, L, N], over the tokens
            observer.see(&format!("region{index}"), &map);
            let map = map * shares.clone().narrow(0, index, 1).reshape([1, 1, 1]);
            total = Some(match total {
                Some(total) => total + map,
                None => map,
            });
        }
        let total = total.expect("the configuration has at least one window");
        let context = value.swap_dims(1, 2).matmul(total); // [B, C, N]
        let made = self.visual_out.forward(context.reshape([b, c, h, w]));
        instance_norm(made.reshape([b, c, h * w]))
    }

    /// What the pixels say to each token, `[B, L, D]`; `None` where tokens do not ask.
    fn ask_map(&self, x: Tensor<4>, language: &Language, observer: &mut Observer<'_>) -> Option<Tensor<3>> {
        let (visual_value, text_out) = (self.visual_value.as_ref()?, self.text_out.as_ref()?);
        let [b, c, h, w] = x.dims();
        let [_, _, d] = language.tokens.dims();
        let scale = (c as f64).powf(-0.5);
        let valid = language.valid.clone().unsqueeze_dim::<3>(2); // [B, L, 1]
        let penalty = valid.clone().neg().add_scalar(1.0).mul_scalar(PADDING);
        let over_pixels = |layer: &Convolution, x: Tensor<4>| instance_norm(layer.forward(x).reshape([b, d, h * w]));
        let shares = softmax(self.span_mix.val(), 0);
        let mut total: Option<Tensor<3>> = None;
        for (index, span) in self.spans.iter().enumerate() {
            // PARITY: padding asks nothing, so that it is answered with the mean of normalised values, which is 0.
            let query = span.queries(language.tokens.clone()) * valid.clone(); // [B, L, D]
            let key = over_pixels(&span.key, x.clone()); // [B, D, N]
            let scores = query.matmul(key).mul_scalar(scale) + penalty.clone();
            let map = groundling_kernels::softmax(scores); // [B, L, N], over the pixels
            observer.see(&format!("span{index}"), &map);
            let map = map * shares.clone().narrow(0, index, 1).reshape([1, 1, 1]);
            total = Some(match total {
                Some(total) => total + map,
                None => map,
            });
        }
        let value = over_pixels(visual_value, x).swap_dims(1, 2); // [B, N, D]
        Some(text_out.forward(total?.matmul(value)))
    }
}

/// Pixels ask over a window around each.
#[derive(Module, Debug)]
struct Region {
    key: Dense,
    query: Convolution,
    /// Mixes the pixels of the window, zeros beyond the border.
    window: Convolution,
}

impl Region {
    /// `[B, C, N]`.
    fn queries(&self, x: Tensor<4>) -> Tensor<3> {
        let norm = |x: Tensor<4>| {
            let [b, c, h, w] = x.dims();
            (instance_norm(x.reshape([b, c, h * w])), [h, w])
        };
        let (query, [h, w]) = norm(self.query.forward(x));
        let [b, c, _] = query.dims();
        norm(self.window.forward(query.reshape([b, c, h, w]))).0
    }
}

/// Tokens ask over a window around each.
#[derive(Module, Debug)]
struct Span {
    key: Convolution,
    query: Dense,
    /// Mixes the tokens of the window.
    window: Dense,
    span: usize,
}

impl Span {
    /// `[B, L, D]`. Windows of 2 begin one token earlier; beyond the ends stand copies of the first and the last token.
    fn queries(&self, tokens: Tensor<3>) -> Tensor<3> {
        let query = self.query.forward(tokens); // [B, L, C']
        if self.span == 1 {
            return self.window.forward(query);
        }
        let [b, l, c] = query.dims();
        let end = |index: usize, count: usize| query.clone().narrow(1, index, 1).repeat_dim(1, count);
        let before = self.span / 2;
        let after = (self.span - 1) / 2;
        let mut parts = vec![end(0, before), query.clone()];
        if after > 0 {
            parts.push(end(l - 1, after));
        }
        let padded = Tensor::cat(parts, 1);
        let members = (0..self.span).map(|offset| padded.clone().narrow(1, offset, l)).collect();
        // Channels slowest, as the weight has them.
        let windows: Tensor<4> = Tensor::stack(members, 3); // [B, L, C', span]
        self.window.forward(windows.reshape([b, l, c * self.span]))
    }
}

impl PrepareInference for Mba {
    fn prepare_inference(&mut self) {
        let maps = [
            &mut self.visual_project,
            &mut self.joint_project,
            &mut self.visual_out,
            &mut self.gate_in,
            &mut self.gate_out,
        ];
        maps.into_iter().chain(&mut self.visual_value).for_each(PrepareInference::prepare_inference);
        let updates = self.text_out.iter_mut().chain(&mut self.text_update);
        updates.chain([&mut self.text_value]).for_each(PrepareInference::prepare_inference);
        for region in &mut self.regions {
            region.key.prepare_inference();
            region.query.prepare_inference();
            region.window.prepare_inference();
        }
        for span in &mut self.spans {
            span.key.prepare_inference();
            span.query.prepare_inference();
            span.window.prepare_inference();
        }
    }
}
