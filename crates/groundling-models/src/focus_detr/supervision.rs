//! What Sparse DETR's selector is trained with: where the decoder looked (arXiv:2111.14330, Sec. 3.3).

use burn::tensor::{Tensor, TensorData};
use groundling_nn::losses::binary_cross_entropy;

use super::deformable::Samples;
use super::geometry::Geometry;
use super::ranking;
use super::selector::Selection;

/// Attention of the decoder to each token, `[B][N]`: every sample's weight is laid on the four cells around it, summed over queries, heads,
/// points and layers.
///
/// PARITY: cells are counted from `x W`, not from `x W - 0.5` as where samples are read.
///
/// # Panics
/// If the samples are not of these levels.
pub fn cross_attention_map(samples: &[Samples], sizes: &[[usize; 2]]) -> Vec<Vec<f32>> {
    let tokens: usize = sizes.iter().map(|[height, width]| height * width).sum();
    let images = samples.first().map_or(0, |layer| layer.weights.dims()[0]);
    let mut maps = vec![vec![0f64; tokens]; images];
    for layer in samples {
        let [b, q, g, levels, p] = layer.weights.dims();
        assert_eq!((b, levels), (images, sizes.len()), "samples of these levels");
        let locations = ranking::host(layer.locations.clone().detach());
        let weights = ranking::host(layer.weights.clone().detach());
        let per_image = q * g * levels * p;
        for (index, (&weight, place)) in weights.iter().zip(locations.chunks_exact(2)).enumerate() {
            let level = index / p % levels;
            let start: usize = sizes[..level].iter().map(|[height, width]| height * width).sum();
            splat(&mut maps[index / per_image][start..], sizes[level], [place[0], place[1]], weight);
        }
    }
    maps.into_iter().map(|map| map.into_iter().map(|v| v as f32).collect()).collect()
}

/// Adds a weight to the four cells around a place, those on the map.
fn splat(map: &mut [f64], [height, width]: [usize; 2], [x, y]: [f32; 2], weight: f32) {
    let (x, y) = (x * width as f32, y * height as f32);
    let (left, top) = (x.floor(), y.floor());
    for (row, share_y) in [(top, 1.0 - (y - top)), (top + 1.0, y - top)] {
        for (column, share_x) in [(left, 1.0 - (x - left)), (left + 1.0, x - left)] {
            // Comparisons with NaN are false: a place that is no number is outside.
            if row >= 0.0 && column >= 0.0 && row < height as f32 && column < width as f32 {
                map[row as usize * width + column as usize] += f64::from(weight * share_x * share_y);
            }
        }
    }
}

/// The decoder's attention as a target of the selector.
#[derive(Debug, Clone)]
pub struct Supervision {
    /// Attention to each token of each image, see [`cross_attention_map`].
    pub attention: Vec<Vec<f32>>,
    /// Whether a token is among those that the decoder looked at most, padding last, as many as the image's budget.
    pub wanted: Vec<Vec<bool>>,
}

impl Supervision {
    /// # Panics
    /// If the samples are not of this geometry.
    pub fn new(samples: &[Samples], geometry: &Geometry, selection: &Selection) -> Self {
        let attention = cross_attention_map(samples, geometry.sizes());
        let tokens = geometry.tokens();
        let least = attention.iter().flatten().copied().fold(f32::INFINITY, f32::min) - 1.0;
        let padding = geometry.padding(&selection.raw.device());
        let padding: Vec<bool> = padding.map(|p| p.into_data().iter::<bool>().collect()).unwrap_or_default();
        let wanted_of = |(image, (map, &budget)): (usize, (&Vec<f32>, &usize))| {
            let is_padding = |token: usize| padding.get(image * tokens + token).copied().unwrap_or(false);
            let value = |(token, &value): (usize, &f32)| if is_padding(token) { least } else { value };
            let values: Vec<f32> = map.iter().enumerate().map(value).collect();
            let mut wanted = vec![false; tokens];
            ranking::largest(&values, budget).into_iter().for_each(|place| wanted[place] = true);
            wanted
        };
        let wanted = attention.iter().zip(&selection.budgets).enumerate().map(wanted_of).collect();
        Self { attention, wanted }
    }

    /// Binary cross-entropy of the scores with what is wanted, the mean over all tokens of the batch, `[1]`.
    ///
    /// # Shapes
    /// - `scores` `[B, N]`, logits, those of padding at the least of the batch
    pub fn loss(&self, scores: Tensor<2>) -> Tensor<1> {
        let values: Vec<f32> = self.wanted.iter().flatten().map(|&wanted| f32::from(u8::from(wanted))).collect();
        let targets = Tensor::from_data(TensorData::new(values, scores.dims()), &scores.device());
        binary_cross_entropy(scores, targets).mean()
    }

    /// Share of the attention that falls on kept tokens, in total and on each level, for each image: `[1 + levels][B]`. A quality of the
    /// choice.
    pub fn share_on_kept(&self, geometry: &Geometry, selection: &Selection) -> Vec<Vec<f32>> {
        let starts = geometry.starts();
        let level = |index: usize| starts[index]..starts.get(index + 1).copied().unwrap_or(geometry.tokens());
        let ranges = std::iter::once(0..geometry.tokens()).chain((0..starts.len()).map(level));
        let share = |range: &std::ops::Range<usize>, image: usize| {
            let map = &self.attention[image];
            let all: f32 = map[range.clone()].iter().sum();
            let kept: f32 =
                selection.order[image].iter().filter(|&place| range.contains(place)).map(|&at| map[at]).sum();
            kept / all
        };
        ranges.map(|range| (0..self.attention.len()).map(|image| share(&range, image)).collect()).collect()
    }
}
