//! What auxiliary losses want of places in a picture: on which object they lie, of which class it is, and what the phrase's nouns say about it.

use burn::tensor::{Device, Tensor, TensorData, activation};

use crate::contract::{SampleTruth, TruthObject};

/// The smallest object whose box holds a place `(x, y)`, in fractions of the canvas.
pub(crate) fn object_at<'a>(truth: &'a SampleTruth, &(x, y): &(f64, f64)) -> Option<&'a TruthObject> {
    let covers = |object: &&TruthObject| {
        let bbox = object.bbox;
        (x - bbox.cx).abs() * 2.0 <= bbox.width && (y - bbox.cy).abs() * 2.0 <= bbox.height
    };
    let area = |object: &TruthObject| object.bbox.width * object.bbox.height;
    truth.objects.iter().filter(covers).min_by(|a, b| area(a).total_cmp(&area(b)))
}

/// Labels of a binary cross-entropy over the places of a batch, as the weights of its two logarithms: row by row, a pair in each row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PlaceLabels {
    pub(crate) positive: Vec<f32>,
    pub(crate) negative: Vec<f32>,
    /// Places of a pair.
    pub(crate) places: usize,
}

impl PlaceLabels {
    pub(crate) fn to_device(&self, device: &Device) -> BinaryLabels {
        let rows = self.positive.len() / self.places.max(1);
        let tensor = |values: &[f32]| Tensor::from_data(TensorData::new(values.to_vec(), [rows, self.places]), device);
        BinaryLabels { positive: tensor(&self.positive), negative: tensor(&self.negative) }
    }
}

/// Labels on the device, each `[B, N]`.
pub(crate) struct BinaryLabels {
    pub(crate) positive: Tensor<2>,
    pub(crate) negative: Tensor<2>,
}

impl BinaryLabels {
    /// Terms `[B, N]`, whose sum is the loss.
    pub(crate) fn cross_entropy(self, logits: Tensor<2>) -> Tensor<2> {
        let (on, off) = (activation::log_sigmoid(logits.clone()), activation::log_sigmoid(logits.neg()));
        (self.positive * on + self.negative * off).neg()
    }
}

/// Labels of what the head noun of each phrase fits, and of what its other nouns fit, for places that count. Half of a pair's weight is on
/// what is fitted, a quarter on other objects and a quarter on the ground, each shared among its places; pairs of which nobody knows what
/// their nouns fit have none. All weights of a batch in which everything occurs sum to 1.
pub(crate) fn named_labels(
    truths: &[SampleTruth],
    places: &[(f64, f64)],
    counts: impl Fn(usize, usize) -> bool,
) -> [PlaceLabels; 2] {
    let known = |truth: &SampleTruth| truth.objects.iter().all(|object| object.named.is_some());
    let pairs = truths.iter().filter(|truth| known(truth)).count().max(1) as f32;
    [0, 1].map(|noun| {
        let (mut positive, mut negative) = (Vec::new(), Vec::new());
        for (pair, truth) in truths.iter().enumerate() {
            let known = known(truth);
            // 0 for the ground, 1 for other objects, 2 for what is fitted.
            let kind = |(index, place): (usize, &(f64, f64))| {
                let fits = |object: &TruthObject| object.named.is_some_and(|named| named[noun]);
                let kind = object_at(truth, place).map_or(0, |object| 1 + usize::from(fits(object)));
                (known && counts(pair, index)).then_some(kind)
            };
            let kinds: Vec<Option<usize>> = places.iter().enumerate().map(kind).collect();
            let weight = |kind: usize, share: f32| {
                let many = kinds.iter().flatten().filter(|&&other| other == kind).count().max(1);
                share / (many as f32 * pairs)
            };
            let weights = [weight(0, 0.25), weight(1, 0.25), weight(2, 0.5)];
            positive.extend(kinds.iter().map(|kind| if *kind == Some(2) { weights[2] } else { 0.0 }));
            negative.extend(kinds.iter().map(|kind| kind.filter(|&kind| kind < 2).map_or(0.0, |kind| weights[kind])));
        }
        PlaceLabels { positive, negative, places: places.len() }
    })
}

/// Taken off the logit of a class that is no alternative: its probability is nothing then.
const LEFT_OUT: f32 = 1e4;

/// Labels of a cross-entropy over classes and the ground, which is the last: the weight of each one's logarithm, row by row, a pair in each row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ClassLabels {
    weights: Vec<f32>,
    /// What is taken off the logits of classes that are no alternatives, if there are any.
    left_out: Option<Vec<f32>>,
    /// Pairs, places of a pair, and classes with the ground.
    shape: [usize; 3],
}

impl ClassLabels {
    /// Labels of the places that count. Objects and ground weigh half each, shared among their places; an object without a class says nothing.
    pub(crate) fn new(
        truths: &[SampleTruth],
        places: &[(f64, f64)],
        classes: usize,
        counts: impl Fn(usize, usize) -> bool,
    ) -> Self {
        let (n, width) = (places.len(), classes + 1);
        let mut weights = vec![0.0f32; truths.len() * n * width];
        let any = truths.iter().flat_map(|truth| &truth.objects).any(|object| object.unshown_classes != 0);
        let mut left_out = any.then(|| vec![0.0f32; weights.len()]);
        for (row, truth) in truths.iter().enumerate() {
            // The class, and the classes that are no alternatives to it.
            let class = |(index, place): (usize, &(f64, f64))| {
                let found = match object_at(truth, place) {
                    None => Some((classes, 0)),
                    Some(object) => {
                        let known = object.class.filter(|&class| class < classes);
                        known.map(|class| (class, object.unshown_classes))
                    }
                };
                found.filter(|_| counts(row, index))
            };
            let found: Vec<Option<(usize, u64)>> = places.iter().enumerate().map(class).collect();
            let ground = found.iter().flatten().filter(|(class, _)| *class == classes).count();
            let objects = found.iter().flatten().count() - ground;
            for (index, found) in found.into_iter().enumerate() {
                let Some((class, unshown)) = found else { continue };
                let alike = if class == classes { ground } else { objects };
                let start = (row * n + index) * width;
                weights[start + class] = 0.5 / (alike * truths.len()) as f32;
                let Some(left_out) = &mut left_out else { continue };
                for other in (0..classes.min(64)).filter(|&other| other != class && unshown >> other & 1 == 1) {
                    left_out[start + other] = LEFT_OUT;
                }
            }
        }
        Self { weights, left_out, shape: [truths.len(), n, width] }
    }

    /// The loss, `[1]`, of logits `[B, N, classes + 1]`.
    pub(crate) fn cross_entropy(self, logits: Tensor<3>) -> Tensor<1> {
        let device = logits.device();
        let tensor = |values| Tensor::<3>::from_data(TensorData::new(values, self.shape), &device);
        let logits = self.left_out.into_iter().fold(logits, |logits, left_out| logits - tensor(left_out));
        (activation::log_softmax(logits, 2) * tensor(self.weights)).sum().neg()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use groundling_core::BoxCxcywh;

    fn object(x: f64, named: Option<[bool; 2]>) -> TruthObject {
        TruthObject { bbox: BoxCxcywh::new(x, 0.5, 0.2, 1.0), class: None, unshown_classes: 0, is_target: false, named }
    }

    #[test]
    fn a_noun_that_fits_weighs_as_much_as_all_else() {
        let places: Vec<(f64, f64)> = (0..10).map(|index| (0.05 + 0.1 * f64::from(index), 0.5)).collect();
        let objects =
            vec![object(0.1, Some([true, false])), object(0.5, Some([false, true])), object(0.9, Some([false; 2]))];
        let known = SampleTruth { objects, ..SampleTruth::default() };
        let unknown = SampleTruth { objects: vec![object(0.1, None)], ..SampleTruth::default() };
        let [head, others] = named_labels(&[known, unknown], &places, |_, index| index != 9);
        let close = |found: &[f32], expected: &[f32]| {
            assert_eq!(found.len(), 20);
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
            assert!(found[10..].iter().all(|&weight| weight == 0.0));
        };
        // The place that does not count is on the last object.
        close(&head.positive, &[0.25, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let (ground, other) = (0.25 / 4.0, 0.25 / 3.0);
        close(&head.negative, &[0.0, 0.0, ground, ground, other, other, ground, ground, other, 0.0]);
        close(&others.positive, &[0.0, 0.0, 0.0, 0.0, 0.25, 0.25, 0.0, 0.0, 0.0, 0.0]);
        let sum: f32 = others.positive.iter().chain(&others.negative).sum();
        assert!((sum - 1.0).abs() < 1e-6);
    }

    #[test]
    fn objects_and_ground_weigh_half_each() {
        let places: Vec<(f64, f64)> = (0..10).map(|index| (0.05 + 0.1 * f64::from(index), 0.5)).collect();
        let of_class = |x: f64, class, unshown_classes| TruthObject { class, unshown_classes, ..object(x, None) };
        let objects = vec![of_class(0.1, Some(1), 0b101), of_class(0.5, None, 0), of_class(0.9, Some(0), 0)];
        let truth = SampleTruth { objects, ..SampleTruth::default() };
        let labels = |truth: SampleTruth| ClassLabels::new(&[truth], &places, 3, |_, index| index != 9);
        let found = labels(truth.clone());
        // Places 0 and 1 are of class 1, 8 of class 0; of 4 and 5 nobody knows it, and 9 does not count. The rest is ground.
        let class = [Some(1), Some(1), Some(3), Some(3), None, None, Some(3), Some(3), Some(0), None];
        let expected = class.iter().flat_map(|class| {
            let weight = if *class == Some(3) { 0.5 / 4.0 } else { 0.5 / 3.0 };
            (0..4).map(move |index| if *class == Some(index) { weight } else { 0.0 })
        });
        assert!(expected.zip(&found.weights).all(|(a, b): (f32, _)| (a - b).abs() < 1e-6), "{:?}", found.weights);
        // Classes 0 and 2 are no alternatives where class 1 is.
        let places_left_out: Vec<usize> =
            found.left_out.unwrap().iter().enumerate().filter(|(_, value)| **value > 0.0).map(|(at, _)| at).collect();
        assert_eq!(places_left_out, [0, 2, 4, 6]);
        let open = truth.objects.into_iter().map(|object| TruthObject { unshown_classes: 0, ..object }).collect();
        assert_eq!(labels(SampleTruth { objects: open, ..SampleTruth::default() }).left_out, None);
    }

    #[test]
    fn the_smaller_of_two_objects_is_seen() {
        let small = TruthObject { bbox: BoxCxcywh::new(0.5, 0.5, 0.1, 0.1), ..object(0.5, None) };
        let truth = SampleTruth { objects: vec![object(0.5, None), small], ..SampleTruth::default() };
        assert_eq!(object_at(&truth, &(0.52, 0.5)), Some(&small));
        assert_eq!(object_at(&truth, &(0.58, 0.5)), Some(&object(0.5, None)));
        assert_eq!(object_at(&truth, &(0.8, 0.5)), None);
    }
}
