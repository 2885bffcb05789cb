//! Position encodings of maps, sequences and boxes.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Bool, Device, Int, Tensor};

/// Sine encoding of the cells of a map, normalised to what is not padding.
///
/// The count of real cells down to a row is `y`, along to a column `x`; each is brought to a circle, `(y + offset) / (last y + 1e-6) * scale`,
/// and encoded by sines (even features) and cosines (odd features) of `y / temperature^(2 floor(k / 2) / features)`. Channels are those of
/// `y`, then those of `x`.
///
/// Source: Carion et al. 2020 (arXiv:2005.12872), Sec. A.4, as released; the offset is Deformable DETR's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SinePosition2d {
    /// Channels of each axis, even.
    pub features: usize,
    /// Ratio of the slowest wave to the fastest, nearly.
    pub temperature: f64,
    /// Added to the counts before they are normalised: -0.5 takes the middle of a cell.
    pub offset: f64,
    /// Whether counts are divided by the last of their column or row and brought to a circle.
    pub normalise: bool,
}

impl SinePosition2d {
    /// DETR's, and so that of TransVG and VLTVG: 128 features an axis, temperature 10000.
    pub const DETR: Self = Self { features: 128, temperature: 10_000.0, offset: 0.0, normalise: true };
    /// Deformable DETR's, and so Focus-DETR's in its configurations of 12 epochs and with Swin.
    pub const DEFORMABLE: Self = Self { features: 128, temperature: 10_000.0, offset: -0.5, normalise: true };
    /// Focus-DETR's in its ResNet configurations of 24 and 36 epochs.
    pub const FOCUS_LONG: Self = Self { features: 128, temperature: 20.0, offset: 0.0, normalise: true };

    /// Encodes every cell. A column or row of padding alone gets finite values without meaning.
    ///
    /// # Shapes
    /// - `padding` `[B, H, W]`, `true` = ignore
    /// - returns `[B, 2 features, H, W]`
    pub fn forward(&self, padding: Tensor<3, Bool>) -> Tensor<4> {
        let [batch, height, width] = padding.dims();
        let valid = padding.bool_not().float();
        let y = valid.clone().cumsum(1);
        let x = valid.cumsum(2);
        let (y, x) = if self.normalise {
            let last_y = y.clone().narrow(1, height - 1, 1);
            let last_x = x.clone().narrow(2, width - 1, 1);
            (self.circle(y, last_y), self.circle(x, last_x))
        } else {
            (y, x)
        };
        let encode = |count: Tensor<3>| {
            let flat = waves(count.reshape([batch, height * width, 1]), self.features, self.temperature);
            flat.swap_dims(1, 2).reshape([batch, self.features, height, width])
        };
        Tensor::cat(vec![encode(y), encode(x)], 1)
    }

    /// The two encodings that a map without padding is made of: of its rows `[H, features]` and of its columns `[W, features]`.
    /// [`SinePosition2d::forward`] gives the cell of a row and a column the same numbers, one after the other.
    pub fn whole(&self, height: usize, width: usize, device: &Device) -> [Tensor<2>; 2] {
        [height, width].map(|cells| {
            let count = Tensor::<1, Int>::arange(1..cells as i64 + 1, device).float().reshape([1, cells, 1]);
            let count = if self.normalise { self.circle(count.clone(), count.narrow(1, cells - 1, 1)) } else { count };
            waves(count, self.features, self.temperature).squeeze_dim(0)
        })
    }

    fn circle(&self, count: Tensor<3>, last: Tensor<3>) -> Tensor<3> {
        // In the order of the released code: the values are the arguments of sines, where rounding differently shows.
        (count.add_scalar(self.offset) / last.add_scalar(1e-6)).mul_scalar(std::f64::consts::TAU)
    }
}

/// Sine encoding of the numbers of a box or a point, as decoders of DAB-DETR's line feed it to their queries
/// (Liu et al. 2022, arXiv:2201.12329, Eq. 5).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SineBox {
    /// Features of each number, even.
    pub features: usize,
    /// Ratio of the slowest wave to the fastest, nearly.
    pub temperature: f64,
    /// Whether the features of the second number come before those of the first, as the released decoders have it (y, x, w, h).
    pub y_first: bool,
}

impl SineBox {
    /// 128 features a number, temperature 10000, y first.
    pub const DAB: Self = Self { features: 128, temperature: 10_000.0, y_first: true };

    /// # Shapes
    /// - `boxes` `[B, N, M]`: `M` numbers in `[0, 1]`, such as centre x, centre y, width, height
    /// - returns `[B, N, M features]`
    pub fn forward(&self, boxes: Tensor<3>) -> Tensor<3> {
        let [batch, count, numbers] = boxes.dims();
        let boxes = if self.y_first && numbers >= 2 {
            let swapped = vec![boxes.clone().narrow(2, 1, 1), boxes.clone().narrow(2, 0, 1)];
            let rest = (numbers > 2).then(|| boxes.narrow(2, 2, numbers - 2));
            Tensor::cat(swapped.into_iter().chain(rest).collect(), 2)
        } else {
            boxes
        };
        let column = boxes.reshape([batch, count * numbers, 1]).mul_scalar(std::f64::consts::TAU);
        waves(column, self.features, self.temperature).reshape([batch, count, numbers * self.features])
    }
}

/// Sine encoding of the places of a sequence: place `i` as the number `i`, sines and cosines in turn
/// (Vaswani et al. 2017, arXiv:1706.03762, Sec. 3.5).
///
/// # Shapes
/// - returns `[len, features]`; `features` is even
pub fn sine_1d(len: usize, features: usize, temperature: f64, device: &Device) -> Tensor<2> {
    let places = Tensor::<1, Int>::arange(0..len as i64, device).float().reshape([1, len, 1]);
    waves(places, features, temperature).squeeze_dim(0)
}

/// Sines (even features) and cosines (odd features) of `v / temperature^(2 floor(k / 2) / features)`: `[B, N, 1]` to `[B, N, features]`.
fn waves(v: Tensor<3>, features: usize, temperature: f64) -> Tensor<3> {
    let [batch, count, _] = v.dims();
    assert!(features.is_multiple_of(2), "{features} features, expected an even number");
    let pairs = features / 2;
    let divisors: Vec<f32> = (0..pairs).map(|k| (temperature as f32).powf((2 * k) as f32 / features as f32)).collect();
    let divisors = Tensor::<1>::from_floats(divisors.as_slice(), &v.device()).reshape([1, 1, pairs]);
    let angle = v / divisors;
    let pair: Tensor<4> = Tensor::stack(vec![angle.clone().sin(), angle.cos()], 3);
    pair.reshape([batch, count, features])
}

/// Learned encoding of the cells of a map: a row of one table for the column, one of another for the row
/// (Carion et al. 2020, arXiv:2005.12872, as released).
#[derive(Module, Debug)]
pub struct LearnedPosition2d {
    /// Of the rows, `[largest height, features]`.
    pub row_embed: Param<Tensor<2>>,
    /// Of the columns, `[largest width, features]`.
    pub col_embed: Param<Tensor<2>>,
}

impl LearnedPosition2d {
    /// Tables for maps of up to `height` by `width`, uniform in [0, 1) as in the released code.
    pub fn new(height: usize, width: usize, features: usize, device: &Device) -> Self {
        let table = |rows| Initializer::Uniform { min: 0.0, max: 1.0 }.init([rows, features], device);
        Self { row_embed: table(height), col_embed: table(width) }
    }

    /// # Shapes
    /// - returns `[1, 2 features, height, width]`: the features of the column, then those of the row
    ///
    /// # Panics
    /// If the map is larger than the tables, which the configuration of a model rules out.
    pub fn forward(&self, height: usize, width: usize) -> Tensor<4> {
        let rows = self.row_embed.val().narrow(0, 0, height).unsqueeze_dim::<3>(1).repeat_dim(1, width);
        let columns = self.col_embed.val().narrow(0, 0, width).unsqueeze_dim::<3>(0).repeat_dim(0, height);
        Tensor::cat(vec![columns, rows], 2).permute([2, 0, 1]).unsqueeze_dim(0)
    }
}
