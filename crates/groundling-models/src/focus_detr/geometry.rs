//! Where tokens are: levels, padding, reference points and first boxes.
//!
//! Tokens are the cells of level 0 row by row, then those of level 1, and so on.

use burn::tensor::{Bool, Device, Tensor, TensorData};
use groundling_core::ImageSize;

/// Coordinates of a first box lie between this and one minus it.
const MARGIN: f32 = 0.01;
/// Side of a first box on level 0.
const FIRST_SIDE: f32 = 0.05;

/// Levels of a batch of images, and which of their cells lie on the images.
#[derive(Debug, Clone, PartialEq)]
pub struct Geometry {
    sizes: Vec<[usize; 2]>,
    /// Rows and columns of each image's levels that are no padding.
    valid: Vec<Vec<[usize; 2]>>,
}

/// A first box for every token.
#[derive(Debug, Clone)]
pub struct FirstBoxes {
    /// `[B, N, 4]`: logits of centre x, centre y, width, height; `+inf` for tokens without a box.
    pub logits: Tensor<3>,
    /// `[B, N, 1]`: one for tokens with a box, zero for padding and for cells at the rim.
    pub valid: Tensor<3>,
}

impl Geometry {
    /// Of images that lie top left in canvases of one size; `sizes` are rows and columns of the levels.
    ///
    /// A cell belongs to the image if its first row and column do, in single precision as the released code computes them.
    pub fn new(canvas: ImageSize, contents: &[ImageSize], sizes: &[[usize; 2]]) -> Self {
        let count = |side: u32, content: u32, cells: usize| {
            let scale = side as f32 / cells as f32;
            (0..cells).filter(|&cell| ((cell as f32 * scale).floor() as u32) < content).count()
        };
        let of_level = |content: &ImageSize, [height, width]: [usize; 2]| {
            [count(canvas.height(), content.height(), height), count(canvas.width(), content.width(), width)]
        };
        let valid =
            contents.iter().map(|content| sizes.iter().map(|&size| of_level(content, size)).collect()).collect();
        Self { sizes: sizes.to_vec(), valid }
    }

    /// Of so many images without padding.
    pub fn whole(images: usize, sizes: &[[usize; 2]]) -> Self {
        Self { sizes: sizes.to_vec(), valid: vec![sizes.to_vec(); images] }
    }

    /// Rows and columns of the levels.
    pub fn sizes(&self) -> &[[usize; 2]] {
        &self.sizes
    }

    /// Images of the batch, `B`.
    pub fn images(&self) -> usize {
        self.valid.len()
    }

    /// Tokens of all levels, `N`.
    pub fn tokens(&self) -> usize {
        self.sizes.iter().map(|[height, width]| height * width).sum()
    }

    /// First token of each level.
    pub fn starts(&self) -> Vec<usize> {
        let starts = self.sizes.iter().scan(0, |start, [height, width]| {
            let here = *start;
            *start += height * width;
            Some(here)
        });
        starts.collect()
    }

    /// Level, row and column of a token.
    ///
    /// # Panics
    /// If there is no such token.
    pub fn cell(&self, token: usize) -> [usize; 3] {
        assert!(token < self.tokens(), "token {token} of {}", self.tokens());
        let starts = self.starts();
        let level = starts.partition_point(|&start| start <= token) - 1;
        let (inside, width) = (token - starts[level], self.sizes[level][1]);
        [level, inside / width, inside % width]
    }

    /// Tokens of each image that are no padding.
    pub fn valid_tokens(&self) -> Vec<usize> {
        self.valid.iter().map(|levels| levels.iter().map(|[rows, columns]| rows * columns).sum()).collect()
    }

    /// Whether any token is padding.
    pub fn is_padded(&self) -> bool {
        self.valid.iter().any(|levels| levels != &self.sizes)
    }

    /// Padding of a level, `[B, H, W]`, `true` = ignore.
    pub fn level_padding(&self, level: usize, device: &Device) -> Tensor<3, Bool> {
        let [height, width] = self.sizes[level];
        let outside = |valid: &Vec<[usize; 2]>| {
            let [rows, columns] = valid[level];
            (0..height * width).map(move |cell| cell / width >= rows || cell % width >= columns)
        };
        let values: Vec<bool> = self.valid.iter().flat_map(outside).collect();
        Tensor::from_data(TensorData::new(values, [self.images(), height, width]), device)
    }

    /// Padding of all tokens, `[B, N]`, `true` = ignore; `None` if there is none.
    pub fn padding(&self, device: &Device) -> Option<Tensor<2, Bool>> {
        let level = |level: usize| {
            let [height, width] = self.sizes[level];
            self.level_padding(level, device).reshape([self.images(), height * width])
        };
        self.is_padded().then(|| Tensor::cat((0..self.sizes.len()).map(level).collect(), 1))
    }

    /// Share of the columns and rows of each level that are no padding, `[B, levels, 2]`: width, then height.
    pub fn valid_ratios(&self, device: &Device) -> Tensor<3> {
        let ratios: Vec<f32> = (0..self.images()).flat_map(|image| self.ratios(image)).flatten().collect();
        Tensor::from_data(TensorData::new(ratios, [self.images(), self.sizes.len(), 2]), device)
    }

    fn ratios(&self, image: usize) -> Vec<[f32; 2]> {
        let ratio = |(&[rows, columns], &[height, width]): (&[usize; 2], &[usize; 2])| {
            [columns as f32 / width as f32, rows as f32 / height as f32]
        };
        self.valid[image].iter().zip(&self.sizes).map(ratio).collect()
    }

    /// Centre of every token's cell on every level, `[B, N, levels, 2]`: x, then y, of the whole map as 1.
    pub fn reference_points(&self, device: &Device) -> Tensor<4> {
        let levels = self.sizes.len();
        let mut points = Vec::with_capacity(self.images() * self.tokens() * levels * 2);
        for image in 0..self.images() {
            let ratios = self.ratios(image);
            for (&[height, width], own) in self.sizes.iter().zip(&ratios) {
                for cell in 0..height * width {
                    let x = ((cell % width) as f32 + 0.5) / (own[0] * width as f32);
                    let y = ((cell / width) as f32 + 0.5) / (own[1] * height as f32);
                    points.extend(ratios.iter().flat_map(|ratio| [x * ratio[0], y * ratio[1]]));
                }
            }
        }
        Tensor::from_data(TensorData::new(points, [self.images(), self.tokens(), levels, 2]), device)
    }

    /// A box around every cell that is twice as large on each coarser level.
    pub fn first_boxes(&self, device: &Device) -> FirstBoxes {
        let count = self.images() * self.tokens();
        let (mut logits, mut valid) = (Vec::with_capacity(4 * count), Vec::with_capacity(count));
        for levels in &self.valid {
            for (level, (&[rows, columns], &[height, width])) in levels.iter().zip(&self.sizes).enumerate() {
                let side = FIRST_SIDE * 2f32.powi(level as i32);
                for cell in 0..height * width {
                    let (row, column) = (cell / width, cell % width);
                    let centre = [(column as f32 + 0.5) / columns as f32, (row as f32 + 0.5) / rows as f32];
                    let bbox = [centre[0], centre[1], side, side];
                    let inside = bbox.iter().all(|&v| v > MARGIN && v < 1.0 - MARGIN) && row < rows && column < columns;
                    logits.extend(bbox.map(|v| if inside { (v / (1.0 - v)).ln() } else { f32::INFINITY }));
                    valid.push(if inside { 1f32 } else { 0.0 });
                }
            }
        }
        let (images, tokens) = (self.images(), self.tokens());
        FirstBoxes {
            logits: Tensor::from_data(TensorData::new(logits, [images, tokens, 4]), device),
            valid: Tensor::from_data(TensorData::new(valid, [images, tokens, 1]), device),
        }
    }
}

/// Logit of numbers in `[0, 1]`, kept `epsilon` away from both ends.
pub fn inverse_sigmoid<const D: usize>(x: Tensor<D>, epsilon: f64) -> Tensor<D> {
    let x = x.clamp(0.0, 1.0);
    let rest = x.clone().neg().add_scalar(1.0);
    (x.clamp_min(epsilon) / rest.clamp_min(epsilon)).log()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_their_cells() {
        let geometry = Geometry::whole(1, &[[2, 3], [1, 2]]);
        assert_eq!([0, 5, 6, 7].map(|token| geometry.cell(token)), [[0, 0, 0], [0, 1, 2], [1, 0, 0], [1, 0, 1]]);
    }

    #[test]
    fn logits_keep_away_from_the_ends() {
        let device = Device::flex();
        let x = Tensor::<1>::from_data([0.0, 1.0, 0.5, -3.0, 0.0005], &device);
        let found: Vec<f32> = inverse_sigmoid(x, 1e-3).into_data().iter::<f32>().collect();
        let end = 1000f32.ln();
        for (found, expected) in found.into_iter().zip([-end, end, 0.0, -end, -end]) {
            assert!((found - expected).abs() < 1e-3, "{found} {expected}");
        }
    }
}
