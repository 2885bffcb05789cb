//! Distances of paired boxes.
//!
//! Boxes are rows of centre x, centre y, width, height, in any one unit (the systems here use the padded network input as 1).

use burn::tensor::Tensor;

/// What keeps a ratio of areas defined where an area is zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Denominator {
    /// The ratio is zero where the denominator is not positive.
    Guarded,
    /// The denominator is at least this.
    AtLeast(f64),
    /// This is added to the denominator: Focus-DETR adds 1e-6, so tiny boxes never reach an IoU of one.
    Plus(f64),
    /// Nothing: zero divided by zero is NaN, and so is the gradient.
    Plain,
}

impl Denominator {
    fn ratio(self, above: Tensor<1>, below: Tensor<1>) -> Tensor<1> {
        match self {
            Self::Guarded => {
                let empty = below.clone().lower_equal_elem(0.0);
                // Replaced before dividing: the gradient of a division by zero would be NaN even where its value is not used.
                (above / below.mask_fill(empty.clone(), 1.0)).mask_fill(empty, 0.0)
            }
            Self::AtLeast(least) => above / below.clamp_min(least),
            Self::Plus(more) => above / below.add_scalar(more),
            Self::Plain => above / below,
        }
    }
}

/// `|dx| + |dy| + |dw| + |dh|` of each pair.
///
/// # Shapes
/// - `a`, `b` `[N, 4]`: centre x, centre y, width, height
/// - returns `[N]`
pub fn box_l1(a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
    (a - b).abs().sum_dim(1).squeeze_dim(1)
}

/// Area of the intersection over area of the union of each pair, in `[0, 1]`.
///
/// # Shapes
/// - `a`, `b` `[N, 4]`: centre x, centre y, width, height
/// - returns `[N]`
pub fn iou(a: Tensor<2>, b: Tensor<2>, denominator: Denominator) -> Tensor<1> {
    let (intersection, union, _) = areas(a, b);
    denominator.ratio(intersection, union)
}

/// Generalised IoU of each pair, in `[-1, 1]`: IoU minus the share of the smallest enclosing box that neither covers
/// (Rezatofighi et al. 2019, arXiv:1902.09630, Algorithm 1). The loss is one minus it.
///
/// # Shapes
/// - `a`, `b` `[N, 4]`: centre x, centre y, width, height
/// - returns `[N]`
pub fn giou(a: Tensor<2>, b: Tensor<2>, denominator: Denominator) -> Tensor<1> {
    let (intersection, union, hull) = areas(a, b);
    denominator.ratio(intersection, union.clone()) - denominator.ratio(hull.clone() - union, hull)
}

/// Left, top, right, bottom of boxes given as centre x, centre y, width, height, both `[N, 4]`.
pub fn corners(boxes: Tensor<2>) -> Tensor<2> {
    let centre = boxes.clone().narrow(1, 0, 2);
    let half = boxes.narrow(1, 2, 2).mul_scalar(0.5);
    Tensor::cat(vec![centre.clone() - half.clone(), centre + half], 1)
}

/// Of the intersection, the union and the smallest enclosing box.
fn areas(a: Tensor<2>, b: Tensor<2>) -> (Tensor<1>, Tensor<1>, Tensor<1>) {
    let area =
        |sides: Tensor<2>| -> Tensor<1> { sides.clone().narrow(1, 0, 1).mul(sides.narrow(1, 1, 1)).squeeze_dim(1) };
    // Of the corners, not of width times height: both round alike then, and a box meets itself with an IoU of exactly one.
    let (a, b) = (corners(a), corners(b));
    let split = |boxes: Tensor<2>| (boxes.clone().narrow(1, 0, 2), boxes.narrow(1, 2, 2));
    let ((a_low, a_high), (b_low, b_high)) = (split(a), split(b));
    let inner = a_high.clone().min_pair(b_high.clone()) - a_low.clone().max_pair(b_low.clone());
    let outer = a_high.clone().max_pair(b_high.clone()) - a_low.clone().min_pair(b_low.clone());
    let intersection = area(inner.clamp_min(0.0));
    let union = area(a_high - a_low) + area(b_high - b_low) - intersection.clone();
    (intersection, union, area(outer.clamp_min(0.0)))
}
