//! Which tokens are foreground: the score head, top-down modulation, and the lists that layers work on.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use groundling_kernels::Activation;
use groundling_nn::layers::{Dense, PrepareInference, TokenNorm};

use super::config::{LEVELS, Modulation};
use super::geometry::Geometry;
use super::{EPSILON, dense, ranking};

/// One logit for every token.
#[derive(Module, Debug)]
pub struct TokenSelector {
    /// Tokens to logits.
    pub head: ScoreHead,
    /// Factors of the coarser level's score, from the coarsest pair of levels to the finest; `None`: all tokens are scored together.
    pub alpha: Option<Param<Tensor<1>>>,
    #[module(skip)]
    modulation: Modulation,
}

impl TokenSelector {
    /// Level by level, each modulated by the score of the coarser one (Focus-DETR, Sec. 3.2).
    pub fn top_down(width: usize, modulation: Modulation, device: &Device) -> Self {
        let alpha = Initializer::Uniform { min: -0.3, max: 0.3 }.init([LEVELS - 1], device);
        Self { head: ScoreHead::new(width, device), alpha: Some(alpha), modulation }
    }

    /// All levels together (Sparse DETR).
    pub fn joint(width: usize, device: &Device) -> Self {
        Self { head: ScoreHead::new(width, device), alpha: None, modulation: Modulation::Published }
    }

    /// # Shapes
    /// - `x` `[B, N, C]`: transformed tokens of the levels, rows and columns of which are `sizes`
    /// - returns `[B, N]`, logits
    ///
    /// # Panics
    /// If the shapes disagree.
    pub fn forward(&self, x: Tensor<3>, sizes: &[[usize; 2]]) -> Tensor<2> {
        let Some(alpha) = &self.alpha else { return self.head.forward(x) };
        let alpha = alpha.val();
        let mut levels: Vec<Tensor<2>> = Vec::with_capacity(sizes.len());
        let mut end = x.dims()[1];
        for (depth, size) in sizes.iter().rev().enumerate() {
            let count = size[0] * size[1];
            let tokens = x.clone().narrow(1, end - count, count);
            end -= count;
            let score = match levels.last() {
                None => self.head.forward(tokens),
                Some(coarser) => {
                    let coarser = enlarged(coarser.clone(), sizes[sizes.len() - depth], *size);
                    let factor = alpha.clone().narrow(0, depth - 1, 1).reshape([1, 1]);
                    let shift = coarser * factor; // [B, count]
                    match self.modulation {
                        Modulation::Published => {
                            self.head.forward(tokens.clone() + tokens * shift.unsqueeze_dim::<3>(2))
                        }
                        Modulation::Additive => self.head.forward(tokens) + shift,
                    }
                }
            };
            levels.push(score);
        }
        levels.reverse();
        Tensor::cat(levels, 1)
    }
}

impl PrepareInference for TokenSelector {
    fn prepare_inference(&mut self) {
        let ScoreHead { mix, reduce, refine, out, .. } = &mut self.head;
        [mix, reduce, refine, out].into_iter().for_each(PrepareInference::prepare_inference);
    }
}

/// Four linear layers; half of the channels are replaced by their mean after the first.
#[derive(Module, Debug)]
pub struct ScoreHead {
    /// Over channels.
    pub norm: TokenNorm,
    /// `C` to `C`: what stays local, and what becomes global.
    pub mix: Dense,
    /// `C` to `C / 2`.
    pub reduce: Dense,
    /// `C / 2` to `C / 4`.
    pub refine: Dense,
    /// To the logit.
    pub out: Dense,
}

impl ScoreHead {
    fn new(width: usize, device: &Device) -> Self {
        Self {
            norm: TokenNorm::new(width, EPSILON, device),
            mix: dense(width, width, device),
            reduce: dense(width, width / 2, device),
            refine: dense(width / 2, width / 4, device),
            out: dense(width / 4, 1, device),
        }
    }

    /// `[B, N, C]` to `[B, N]`; the mean is over all `N`, padding too.
    ///
    /// # Panics
    /// If the width disagrees.
    pub fn forward(&self, tokens: Tensor<3>) -> Tensor<2> {
        let x = self.mix.forward_then(self.norm.forward(tokens), Activation::Gelu);
        let [b, n, c] = x.dims();
        let local = x.clone().narrow(2, 0, c / 2);
        let global = x.narrow(2, c / 2, c - c / 2).mean_dim(1).expand([b, n, c - c / 2]);
        let x = self.reduce.forward_then(Tensor::cat(vec![local, global], 2), Activation::Gelu);
        let x = self.refine.forward_then(x, Activation::Gelu);
        self.out.forward(x).squeeze_dim(2)
    }
}

/// A level's scores `[B, h w]` on a larger level `[B, H W]`: bilinear, corners on corners.
fn enlarged(scores: Tensor<2>, [h, w]: [usize; 2], [height, width]: [usize; 2]) -> Tensor<2> {
    let [b, _] = scores.dims();
    let device = scores.device();
    let matrix = |from: usize, to: usize| {
        Tensor::<3>::from_data(TensorData::new(interpolation(from, to), [1, to, from]), &device)
    };
    let rows = matrix(h, height).expand([b, height, h]).matmul(scores.reshape([b, h, w]));
    let both = rows.matmul(matrix(w, width).swap_dims(1, 2).expand([b, w, width]));
    both.reshape([b, height * width])
}

/// Shares of `from` cells in each of `to`, row by row.
fn interpolation(from: usize, to: usize) -> Vec<f32> {
    let mut shares = vec![0.0; from * to];
    let step = if to > 1 { (from - 1) as f32 / (to - 1) as f32 } else { 0.0 };
    for (cell, row) in shares.chunks_mut(from).enumerate() {
        let at = cell as f32 * step;
        let low = (at.floor() as usize).min(from - 1);
        let share = at - low as f32;
        row[low] += 1.0 - share;
        row[(low + 1).min(from - 1)] += share;
    }
    shares
}

/// Scores, and the lists that follow from them.
#[derive(Debug, Clone)]
pub struct Selection {
    /// `[B, N]`: what the loss looks at.
    pub raw: Tensor<2>,
    /// `[B, N]`: padding has the least score of the batch.
    pub masked: Tensor<2>,
    /// Tokens of each image that are written back. Where images of a batch differ in size, lists are as long as the largest needs, and the
    /// rest of the list of a smaller one is computed but not kept.
    pub budgets: Vec<usize>,
    /// Tokens of each image, best first.
    pub order: Vec<Vec<usize>>,
    /// How many of them each layer works on.
    pub kept: Vec<usize>,
}

impl Selection {
    /// `keep` is the share of an image's tokens that enter the cascade, `cascade` the share of those for each layer. An image keeps at
    /// least one token in every layer, and no more than there are.
    ///
    /// Shares are taken in single precision and cut, as in the released code.
    ///
    /// # Shapes
    /// - `raw` `[B, N]`
    pub fn new(raw: Tensor<2>, geometry: &Geometry, keep: f32, cascade: &[f32]) -> Self {
        let budgets: Vec<usize> =
            geometry.valid_tokens().into_iter().map(|valid| (valid as f32 * keep) as usize + 1).collect();
        let most = budgets.iter().copied().max().unwrap_or(0);
        let tokens = geometry.tokens();
        let kept: Vec<usize> = cascade.iter().map(|share| ((share * most as f32) as usize).clamp(1, tokens)).collect();
        let masked = match geometry.padding(&raw.device()) {
            Some(padding) => {
                let least = raw.clone().min().reshape([1, 1]).expand(raw.dims());
                raw.clone().mask_where(padding, least)
            }
            None => raw.clone(),
        };
        let longest = kept.iter().copied().max().unwrap_or(0);
        let order = ranking::largest_of_rows(masked.clone().detach(), longest);
        Self { raw, masked, budgets, order, kept }
    }

    /// Tokens of each image that a layer works on.
    ///
    /// # Panics
    /// If there is no such layer.
    pub fn list(&self, layer: usize) -> Vec<Vec<usize>> {
        self.order.iter().map(|places| places[..self.kept[layer]].to_vec()).collect()
    }
}

/// Random logits of a head whose answers are rarely yes: `-ln(99)`, a probability of 0.01.
pub(super) const RARE: f64 = -4.595_119_850_134_59;

/// Values between 0 and 1 from the device's generator.
pub(super) fn uniform(count: usize, device: &Device) -> Vec<f32> {
    if count == 0 {
        return Vec::new();
    }
    ranking::host(Tensor::<1>::random([count], Distribution::Uniform(0.0, 1.0), device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_stay_corners() {
        assert_eq!(interpolation(2, 3), [1.0, 0.0, 0.5, 0.5, 0.0, 1.0]);
        assert_eq!(interpolation(1, 2), [1.0, 1.0]);
        assert_eq!(interpolation(3, 1), [1.0, 0.0, 0.0]);
    }

    #[test]
    fn lists_are_never_empty_or_too_long() {
        let device = Device::flex();
        let geometry = Geometry::whole(1, &[[1, 2], [1, 1]]);
        let raw = Tensor::<2>::from_data([[0.5, 2.0, 1.0]], &device);
        let few = Selection::new(raw.clone(), &geometry, 0.5, &[1.0, 0.2]);
        assert_eq!((few.kept.clone(), few.list(1), few.budgets.clone()), (vec![2, 1], vec![vec![1]], vec![2]));
        let all = Selection::new(raw, &geometry, 9.0, &[1.0]);
        assert_eq!(all.order, [[1, 2, 0]]);
    }
}
