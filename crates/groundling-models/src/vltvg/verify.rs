//! Which visual tokens the phrase is about: verification against the phrase, and context gathered for it.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use groundling_nn::attention::{AttentionBias, MultiHeadAttention, MultiHeadAttentionConfig};
use groundling_nn::layers::{Dense, PrepareInference, TokenNorm};

use super::Words;
use crate::bases::{Cells, Look};

/// Norms of embeddings are at least this.
const LEAST_NORM: f32 = 1e-12;

/// A score and context for every visual token.
#[derive(Module, Debug)]
pub(super) struct Verification {
    img2text_attn: MultiHeadAttention,
    text_proj: Dense,
    img_proj: Dense,
    tf_scale: Param<Tensor<1>>,
    tf_sigma: Param<Tensor<1>>,
    img2textcond_attn: MultiHeadAttention,
    img2img_attn: MultiHeadAttention,
    norm_text_cond_img: TokenNorm,
    norm_img: TokenNorm,
}

impl Verification {
    pub(super) fn new(dim: usize, heads: usize, dropout: f64, device: &Device) -> Self {
        let attention = || MultiHeadAttentionConfig { width: dim, heads, dropout }.init(device);
        let scalar = |value| Initializer::Constant { value }.init([1], device);
        let norm = || TokenNorm::new(dim, 1e-5, device);
        Self {
            img2text_attn: attention(),
            text_proj: Dense::new(dim, dim, device),
            img_proj: Dense::new(dim, dim, device),
            tf_scale: scalar(1.0),
            tf_sigma: scalar(0.5),
            img2textcond_attn: attention(),
            img2img_attn: attention(),
            norm_text_cond_img: norm(),
            norm_img: norm(),
        }
    }

    /// Visual tokens `[B, S, D]`, normalised together with their context and scaled by how well they fit the phrase.
    pub(super) fn forward<O: Look>(&self, x: Tensor<3>, cells: &Cells, words: &Words, look: &mut O) -> Tensor<3> {
        let score = self.score(x.clone(), words, look);
        let about = self.attend_words(&self.img2textcond_attn, x.clone(), words);
        look.see("img2textcond", 0, || about.clone());
        let placed = x.clone() + about;
        let bias = self.places(placed.clone(), cells);
        look.see("img2img_probs", 0, || {
            let [b, g, n, l] = bias.pair.as_ref().expect("places are a pair bias").dims();
            let attended = self.img2img_attn.forward_with_map(placed.clone(), placed.clone(), x.clone(), bias.clone());
            attended.weights.reshape([b * g, n, l])
        });
        let context = self.img2img_attn.forward(placed.clone(), placed, x.clone(), bias);
        look.see("img2img", 0, || context.clone());
        let fused = (self.norm_img.forward(x.clone()) + self.norm_text_cond_img.forward(context)) * score;
        look.see("disc_feature", 0, || Tensor::cat(vec![x.clone(), fused.clone()], 2));
        fused
    }

    fn attend_words(&self, attention: &MultiHeadAttention, x: Tensor<3>, words: &Words) -> Tensor<3> {
        attention.forward(x, words.tokens.clone(), words.tokens.clone(), words.bias())
    }

    /// How well each visual token fits what it reads of the phrase, `[B, S, 1]`: a Gaussian of the distance of their directions.
    fn score<O: Look>(&self, x: Tensor<3>, words: &Words, look: &mut O) -> Tensor<3> {
        let text = self.attend_words(&self.img2text_attn, x.clone(), words);
        look.see("img2text", 0, || text.clone());
        let text = self.text_proj.forward(text);
        let image = self.img_proj.forward(x);
        look.see("text_embed", 0, || text.clone());
        look.see("img_embed", 0, || image.clone());
        let cosine = (unit(image) * unit(text)).sum_dim(2);
        look.see("verify_cos", 0, || cosine.clone().squeeze_dim::<2>(2));
        let apart = cosine.neg().add_scalar(1.0);
        let scalar = |param: &Param<Tensor<1>>| param.val().reshape([1, 1, 1]);
        let sigma = scalar(&self.tf_sigma);
        let exponent = (apart.clone() * apart).neg() / (sigma.clone() * sigma).mul_scalar(2.0);
        let score = exponent.exp() * scalar(&self.tf_scale);
        look.see("verify_score", 0, || score.clone().squeeze_dim::<2>(2));
        score
    }

    /// What relative places add to the scores of every query and key, and keys that are hidden.
    ///
    /// The projection of the keys also acts on sines of the offset between query and key in rows (first half of its inputs) and in columns
    /// (second half), without its bias.
    fn places(&self, query: Tensor<3>, cells: &Cells) -> AttentionBias {
        let ([b, n, d], device, side) = (query.dims(), query.device(), cells.side);
        let attention = &self.img2img_attn;
        let (g, e) = (attention.heads(), d / attention.heads());
        let q = attention.q_proj.forward(query).reshape([b, n, g, e]).swap_dims(1, 2);
        let q = q.mul_scalar((e as f64).powf(-0.5)); // [B, G, N, E]
        let table = offsets(side, d / 2, &device);
        let offsets = 2 * side + 1;
        let half = |index: usize, counts: [Vec<i64>; 2]| -> Tensor<4> {
            let keys = attention.k_proj.weight.val().narrow(0, index * d / 2, d / 2); // [D / 2, D]
            let keys = table.clone().matmul(keys).reshape([1, offsets, g, e]).permute([0, 2, 3, 1]);
            let scores = q.clone().matmul(keys); // [B, G, N, offsets]
            let [query, key] = counts;
            let rows = query.len() / n;
            let difference = |row: usize, i: usize, j: usize| query[row * n + i] - key[row * n + j] + side as i64;
            let index: Vec<i64> = (0..rows)
                .flat_map(|row| (0..n).flat_map(move |i| (0..n).map(move |j| (row, i, j))))
                .map(|(row, i, j)| difference(row, i, j))
                .collect();
            let index = Tensor::<4, Int>::from_data(TensorData::new(index, [rows, 1, n, n]), &device);
            scores.gather(3, index.expand([b, g, n, n]))
        };
        let (rows, columns) = counts(cells);
        let pair = half(0, [rows.clone(), rows]) + half(1, [columns.clone(), columns]);
        let bias = AttentionBias { pair: Some(pair), ..AttentionBias::none() };
        match cells.flat(&device) {
            Some(padding) => bias.with_padding(padding),
            None => bias,
        }
    }
}

/// Vectors of length 1 in the same direction.
fn unit(x: Tensor<3>) -> Tensor<3> {
    // The root of 0 has an infinite slope, so the square is bounded before it is taken.
    let norm = x.clone().mul(x.clone()).sum_dim(2).clamp_min(f64::from(LEAST_NORM).powi(2)).sqrt();
    x / norm
}

/// How many cells that are no padding there are from the top to each cell, and from the left, `[B * S]`; for one picture if nothing is hidden.
fn counts(cells: &Cells) -> (Vec<i64>, Vec<i64>) {
    let side = cells.side;
    let shown = if cells.any() { cells.clone() } else { Cells::all(1, side) };
    let (mut rows, mut columns) = (Vec::new(), Vec::new());
    for padding in shown.padding.chunks(side * side) {
        let valid = |row: usize, column: usize| i64::from(!padding[row * side + column]);
        for row in 0..side {
            for column in 0..side {
                rows.push((0..=row).map(|above| valid(above, column)).sum());
                columns.push((0..=column).map(|before| valid(row, before)).sum());
            }
        }
    }
    (rows, columns)
}

/// Sines and cosines of offsets `-side..=side`, as of places of a map that is `side` cells large: `[2 side + 1, features]`.
fn offsets(side: usize, features: usize, device: &Device) -> Tensor<2> {
    let row = |index: usize| {
        let offset = (index as f32 - side as f32) / (side as f32 + 1e-6) * std::f32::consts::TAU;
        (0..features).map(move |k| {
            let angle = offset / 10_000f32.powf((2 * (k / 2)) as f32 / features as f32);
            if k % 2 == 0 { angle.sin() } else { angle.cos() }
        })
    };
    let values: Vec<f32> = (0..=2 * side).flat_map(row).collect();
    Tensor::from_data(TensorData::new(values, [2 * side + 1, features]), device)
}

impl PrepareInference for Verification {
    fn prepare_inference(&mut self) {
        for attention in [&mut self.img2text_attn, &mut self.img2textcond_attn, &mut self.img2img_attn] {
            attention.prepare_inference();
        }
        self.text_proj.prepare_inference();
        self.img_proj.prepare_inference();
    }
}

/// A mask of phrase tokens as a bias.
impl Words {
    pub(super) fn bias(&self) -> AttentionBias {
        let bias = |padding: &Tensor<2, Bool>| AttentionBias::padding(padding.clone());
        self.padding.as_ref().map_or(AttentionBias::none(), bias)
    }
}
