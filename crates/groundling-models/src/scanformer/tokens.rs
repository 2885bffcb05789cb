//! From word pieces and pixels to tokens.

use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig, Embedding};
use burn::tensor::{Device, Int, Tensor, TensorData};
use groundling_kernels::{Activation, PackedLinear, linear};
use groundling_nn::layers::{Dense, PrepareInference, TokenNorm};
use groundling_nn::prepared::Prepared;

use super::{ScanFormerConfig, geometry, init};

/// `norm(word + segment + position)`, as BERT's embedding.
#[derive(Module, Debug)]
pub(super) struct TextTokens {
    word: Embedding,
    /// Of BERT's two segments; a phrase is the first.
    segment: Embedding,
    position: Embedding,
    norm: TokenNorm,
    dropout: Dropout,
}

impl TextTokens {
    pub(super) fn new(config: &ScanFormerConfig, device: &Device) -> Self {
        Self {
            word: init::table(config.vocab, config.dim, device),
            segment: init::table(2, config.dim, device),
            position: init::table(config.max_text, config.dim, device),
            norm: TokenNorm::new(config.dim, config.text_ln_eps, device),
            dropout: DropoutConfig::new(config.dropout).init(),
        }
    }

    /// # Shapes
    /// - `ids` `[B, L]`, `modality` `[D]`
    /// - returns `[B, L, D]`
    pub(super) fn forward(&self, ids: Tensor<2, Int>, modality: Tensor<1>) -> Tensor<3> {
        let [_, l] = ids.dims();
        let places = self.position.weight.val().narrow(0, 0, l) + self.segment.weight.val().narrow(0, 0, 1);
        let tokens = self.norm.forward(self.word.forward(ids) + places.unsqueeze());
        self.dropout.forward(tokens) + modality.unsqueeze()
    }
}

/// The linear map of patches, kept as the convolution it is in ViLT.
#[derive(Module, Debug)]
pub(super) struct PatchTokens {
    proj: PatchProjection,
}

#[derive(Module, Debug)]
struct PatchProjection {
    /// `[D, 3, P, P]`.
    weight: Param<Tensor<4>>,
    /// `[D]`.
    bias: Param<Tensor<1>>,
    packed: Prepared<PackedLinear>,
}

impl PatchTokens {
    pub(super) fn new(config: &ScanFormerConfig, device: &Device) -> Self {
        let ScanFormerConfig { dim, channels, patch, .. } = *config;
        let proj = PatchProjection {
            weight: init::truncated_normal([dim, channels, patch, patch], device),
            bias: init::zeros([dim], device),
            packed: Prepared::none(),
        };
        Self { proj }
    }

    /// # Shapes
    /// - `pixels` `[B, N, 3 P P]`, each row a patch as (channel, row, column)
    /// - returns `[B, N, D]`
    pub(super) fn forward(&self, pixels: Tensor<3>) -> Tensor<3> {
        match self.proj.packed.get() {
            Some(packed) if !pixels.device().is_autodiff() => packed.forward(pixels, Activation::Identity),
            _ => linear(pixels, self.proj.matrix(), Some(self.proj.bias.val()), Activation::Identity),
        }
    }
}

impl PatchProjection {
    /// `[3 P P, D]`.
    fn matrix(&self) -> Tensor<2> {
        let weight = self.weight.val();
        let [d, channels, rows, columns] = weight.dims();
        weight.reshape([d, channels * rows * columns]).swap_dims(0, 1)
    }
}

impl PrepareInference for PatchTokens {
    fn prepare_inference(&mut self) {
        let packed = PackedLinear::new(self.proj.matrix(), Some(self.proj.bias.val()));
        self.proj.packed.set(packed);
    }
}

/// The pictures of a pyramid, finest last: each the 2 x 2 means of the next.
///
/// # Shapes
/// - `canvas` `[B, 3, H, H]`
/// - level `l` of the result `[B, N, 3 P P]`: its patches in raster order, flattened as (channel, row, column)
pub(super) fn pyramid(canvas: Tensor<4>, config: &ScanFormerConfig) -> Vec<Tensor<3>> {
    let mut levels = Vec::with_capacity(config.levels);
    let mut image = canvas;
    for level in (0..config.levels).rev() {
        levels.push(patches(image.clone(), config.patch));
        if level > 0 {
            let [b, c, h, w] = image.dims();
            image = image.reshape([b, c, h / 2, 2, w / 2, 2]).sum_dims(&[3, 5]).reshape([b, c, h / 2, w / 2]) * 0.25;
        }
    }
    levels.reverse();
    levels
}

fn patches(image: Tensor<4>, side: usize) -> Tensor<3> {
    let [b, c, h, w] = image.dims();
    let (rows, columns) = (h / side, w / side);
    let cut = image.reshape([b, c, rows, side, columns, side]).permute([0, 2, 4, 1, 3, 5]);
    cut.reshape([b, rows * columns, c * side * side])
}

/// The embedding of place and scale: `read(grid, x, y) + fc2(gelu(fc1([x, y, scale])))`.
#[derive(Module, Debug)]
pub(super) struct PlaceEmbedding {
    /// `[G, G, D]`, as (row, column).
    grid: Param<Tensor<3>>,
    fc1: Dense,
    fc2: Dense,
}

impl PlaceEmbedding {
    pub(super) fn new(config: &ScanFormerConfig, device: &Device) -> Self {
        let ScanFormerConfig { dim, pos_grid, .. } = *config;
        let mut fc2 = Dense::without_bias(dim, dim, device);
        // Zero, so that the embedding starts as the table alone.
        fc2.weight = init::zeros([dim, dim], device);
        fc2.bias = Some(init::zeros([dim], device));
        Self { grid: init::positions(pos_grid, dim, device), fc1: init::dense(3, dim, device), fc2 }
    }

    /// Embeddings of all patches of all levels, coarsest level first, each in raster order: `[sum of N, D]`.
    pub(super) fn all(&self, config: &ScanFormerConfig) -> Tensor<2> {
        let grid = self.grid.val();
        let device = grid.device();
        let [g, _, d] = grid.dims();
        let places: Vec<[f64; 3]> = (0..config.levels)
            .flat_map(|level| {
                let scale = config.finest_scale / config.shrink(level) as f64;
                geometry::centres(config, level).into_iter().map(move |(x, y)| [x, y, scale])
            })
            .collect();
        let count = places.len();
        let mut reads = vec![0.0f32; count * g * g];
        for (row, &[x, y, _]) in reads.chunks_exact_mut(g * g).zip(&places) {
            for (line, line_weight) in taps(y, g) {
                for (column, weight) in taps(x, g) {
                    row[line * g + column] += (line_weight * weight) as f32;
                }
            }
        }
        let coordinates: Vec<f32> = places.iter().flatten().map(|&value| value as f32).collect();
        let reads = Tensor::<2>::from_data(TensorData::new(reads, [count, g * g]), &device);
        let coordinates = Tensor::<2>::from_data(TensorData::new(coordinates, [count, 3]), &device);
        let learned = self.fc2.forward(self.fc1.forward_then(coordinates, Activation::Gelu));
        reads.matmul(grid.reshape([g * g, d])) + learned
    }
}

/// The two rows or columns of a table that a position in fractions reads, with their weights: half-pixel centres, clamped.
fn taps(position: f64, size: usize) -> [(usize, f64); 2] {
    let u = (position * size as f64 - 0.5).clamp(0.0, (size - 1) as f64);
    let low = (u.floor() as usize).min(size.saturating_sub(2));
    let weight = u - low as f64;
    [(low, 1.0 - weight), ((low + 1).min(size - 1), weight)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_a_table_of_twelve() {
        let read = |grid: usize| -> Vec<f64> {
            let position = |index: usize| {
                let [(low, _), (_, weight)] = taps((index as f64 + 0.5) / grid as f64, 12);
                low as f64 + weight
            };
            (0..grid).map(position).collect()
        };
        let close = |found: Vec<f64>, expected: &[f64]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        };
        close(read(5), &[0.7, 3.1, 5.5, 7.9, 10.3]);
        close(read(10)[..2].to_vec(), &[0.1, 1.3]);
        close(read(20)[..3].to_vec(), &[0.0, 0.4, 1.0]);
        close(read(20)[18..].to_vec(), &[10.6, 11.0]);
        close(read(12), &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0]);
        assert_eq!(taps(0.9, 1), [(0, 1.0), (0, 0.0)]);
    }

    #[test]
    fn patches_are_cut_row_by_row() {
        let device = Device::flex();
        let canvas = Tensor::<1, Int>::arange(0..3 * 8 * 8, &device).float().reshape([1, 3, 8, 8]);
        let config = ScanFormerConfig { patch: 2, image_size: 8, levels: 2, ..ScanFormerConfig::tiny() };
        let levels = pyramid(canvas, &config);
        assert_eq!([levels[0].dims(), levels[1].dims()], [[1, 4, 12], [1, 16, 12]]);
        let row = |level: usize, index: usize| -> Vec<f32> {
            levels[level].clone().narrow(1, index, 1).into_data().try_to_vec().unwrap()
        };
        // Row 0, column 1 of the fine grid: columns 2 and 3 of rows 0 and 1 of each channel.
        assert_eq!(row(1, 1), [2., 3., 10., 11., 66., 67., 74., 75., 130., 131., 138., 139.]);
        // Means of 2 x 2 pixels.
        assert_eq!(row(0, 0)[..4], [4.5, 6.5, 20.5, 22.5]);
    }
}
