//! Multi-scale deformable attention as a module (Zhu et al. 2020, arXiv:2010.04159, Sec. 4.1).

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Bool, Device, Tensor, TensorData};
use groundling_kernels::{ms_deform_attn, softmax};
use groundling_nn::layers::{Dense, PrepareInference};

use super::dense;

/// Sizes of a [`DeformableAttention`].
#[derive(Debug, Clone, Copy)]
pub struct DeformableConfig {
    /// Model width, `C`.
    pub width: usize,
    /// Heads `G`, a divisor of the width.
    pub heads: usize,
    /// Feature levels.
    pub levels: usize,
    /// Sampling points of a head on each level, `P`.
    pub points: usize,
}

/// Every query reads a few places of every level.
#[derive(Module, Debug)]
pub struct DeformableAttention {
    /// `C` to x and y of every head, level and point, in this order.
    pub sampling_offsets: Dense,
    /// `C` to every head, level and point.
    pub attention_weights: Dense,
    /// Of the values.
    pub value_proj: Dense,
    /// Of what the heads read.
    pub output_proj: Dense,
    heads: usize,
    points: usize,
}

/// What is read: tokens of all levels.
#[derive(Debug, Clone)]
pub struct LevelTokens<'a> {
    /// `[B, N, C]`.
    pub tokens: Tensor<3>,
    /// Rows and columns of the levels.
    pub sizes: &'a [[usize; 2]],
    /// `[B, N]`, `true` = reads as zero.
    pub padding: Option<Tensor<2, Bool>>,
}

/// Where queries read, and how much each place counts.
#[derive(Debug, Clone)]
pub struct Samples {
    /// `[B, Q, G, levels, P, 2]`: x, then y, of the level's map as 1.
    pub locations: Tensor<6>,
    /// `[B, Q, G, levels, P]`; those of a head sum to 1.
    pub weights: Tensor<5>,
}

impl DeformableConfig {
    /// The module as it starts: heads look in directions around the circle, one cell further with each point; all places count alike.
    ///
    /// # Panics
    /// If the heads do not divide the width.
    pub fn init(&self, device: &Device) -> DeformableAttention {
        let Self { width, heads, levels, points } = *self;
        assert!(heads > 0 && width.is_multiple_of(heads), "{heads} heads do not divide a width of {width}");
        let zeros = |outputs: usize| {
            let mut layer = Dense::new(width, outputs, device);
            layer.weight = Initializer::Zeros.init([width, outputs], device);
            layer.bias = Some(Initializer::Zeros.init([outputs], device));
            layer
        };
        let count = heads * levels * points;
        let mut sampling_offsets = zeros(2 * count);
        let bias = TensorData::new(ring(heads, levels, points), [2 * count]);
        sampling_offsets.bias = Some(Param::from_data(bias, device));
        DeformableAttention {
            sampling_offsets,
            attention_weights: zeros(count),
            value_proj: dense(width, width, device),
            output_proj: dense(width, width, device),
            heads,
            points,
        }
    }
}

/// First offsets: `(cos, sin)` of the head's angle brought to the unit square, times the point's number from 1.
fn ring(heads: usize, levels: usize, points: usize) -> Vec<f32> {
    let mut offsets = Vec::with_capacity(heads * levels * points * 2);
    for head in 0..heads {
        let (sin, cos) = (std::f64::consts::TAU * head as f64 / heads as f64).sin_cos();
        let reach = sin.abs().max(cos.abs());
        for point in (0..levels).flat_map(|_| 1..=points) {
            offsets.extend([cos, sin].map(|v| (v / reach * point as f64) as f32));
        }
    }
    offsets
}

impl DeformableAttention {
    /// What the queries read, projected; without a residual.
    ///
    /// # Shapes
    /// - `query` `[B, Q, C]`, with its position
    /// - `references` `[B, Q, levels, 2]`, points, or `[B, Q, levels, 4]`, boxes: centre x, centre y, width, height of the level's map as 1
    /// - returns `[B, Q, C]`
    ///
    /// # Panics
    /// If the shapes disagree.
    pub fn forward(&self, query: Tensor<3>, references: Tensor<4>, values: &LevelTokens<'_>) -> Tensor<3> {
        let samples = self.samples(query, references, values.sizes);
        self.read(samples, values)
    }

    /// Where queries read.
    ///
    /// # Panics
    /// If the shapes disagree.
    pub fn samples(&self, query: Tensor<3>, references: Tensor<4>, sizes: &[[usize; 2]]) -> Samples {
        let [b, q, _] = query.dims();
        let (g, p, levels) = (self.heads, self.points, sizes.len());
        let numbers = references.dims()[3];
        assert_eq!(references.dims()[..3], [b, q, levels], "a reference for each query on each level");
        let offsets = self.sampling_offsets.forward(query.clone()).reshape([b, q, g, levels, p, 2]);
        let weights = self.attention_weights.forward(query).reshape([b, q, g, levels * p]);
        let weights = softmax(weights).reshape([b, q, g, levels, p]);
        let references: Tensor<6> = references.reshape([b, q, 1, levels, 1, numbers]);
        let locations = if numbers == 2 {
            let sides: Vec<f32> = sizes.iter().flat_map(|[height, width]| [*width as f32, *height as f32]).collect();
            let sides = Tensor::<6>::from_data(TensorData::new(sides, [1, 1, 1, levels, 1, 2]), &offsets.device());
            references + offsets / sides
        } else {
            assert_eq!(numbers, 4, "references are points or boxes");
            let (centre, sides) = (references.clone().narrow(5, 0, 2), references.narrow(5, 2, 2));
            centre + offsets.div_scalar(p as f64) * sides.mul_scalar(0.5)
        };
        Samples { locations, weights }
    }

    /// What is read at these places, projected.
    ///
    /// # Panics
    /// If the shapes disagree.
    pub fn read(&self, samples: Samples, values: &LevelTokens<'_>) -> Tensor<3> {
        let [b, n, c] = values.tokens.dims();
        let mut value = self.value_proj.forward(values.tokens.clone());
        if let Some(padding) = &values.padding {
            let keep = padding.clone().bool_not().float().reshape([b, n, 1]);
            value = value * keep;
        }
        let value = value.reshape([b, n, self.heads, c / self.heads]);
        self.output_proj.forward(ms_deform_attn(value, values.sizes, samples.locations, samples.weights))
    }
}

impl PrepareInference for DeformableAttention {
    fn prepare_inference(&mut self) {
        self.sampling_offsets.prepare_inference();
        self.attention_weights.prepare_inference();
        self.value_proj.prepare_inference();
        self.output_proj.prepare_inference();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_offsets_lie_on_the_square() {
        let offsets = ring(8, 2, 3);
        assert_eq!(offsets.len(), 8 * 2 * 3 * 2);
        assert_eq!(offsets[..6], [1.0, 0.0, 2.0, 0.0, 3.0, 0.0]);
        let second = &offsets[12..14];
        assert!((second[0] - 1.0).abs() < 1e-6 && (second[1] - 1.0).abs() < 1e-6, "{second:?}");
    }
}
