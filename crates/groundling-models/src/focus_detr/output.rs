//! From predictions to detections in the original image.

use groundling_core::{BoxXyxy, Canvas, ImageSize, Pixels};

use super::model::Prediction;
use super::ranking;

/// One of a query's classes, in the frame of the network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// From 0.
    pub class: usize,
    /// Probability, 0 to 1.
    pub score: f32,
    /// In pixels of the network input.
    pub bbox: BoxXyxy<Canvas>,
    /// Which query.
    pub query: usize,
}

/// An object that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// From 0.
    pub class: usize,
    /// Probability, 0 to 1.
    pub score: f32,
    /// In the original image, not empty.
    pub bbox: BoxXyxy<Pixels>,
    /// Which query; one query can give several classes.
    pub query: usize,
}

/// The best `count` pairs of query and class of an image, best first; of equals the lower query, then the lower class.
///
/// `content` is the size of the network input without padding.
///
/// # Panics
/// If there is no such image in the batch.
pub fn scored(prediction: &Prediction, image: usize, content: ImageSize, count: usize) -> Vec<Scored> {
    let [_, queries, classes] = prediction.logits.dims();
    let logits = ranking::host(prediction.logits.clone().detach().narrow(0, image, 1));
    let boxes = ranking::host(prediction.boxes.clone().detach().narrow(0, image, 1));
    debug_assert_eq!(boxes.len(), 4 * queries);
    let (width, height) = (content.width() as f32, content.height() as f32);
    let one = |place: usize| {
        let (query, class) = (place / classes, place % classes);
        let [cx, cy, w, h] = [0, 1, 2, 3].map(|number| boxes[4 * query + number]);
        let corners =
            [(cx - 0.5 * w) * width, (cy - 0.5 * h) * height, (cx + 0.5 * w) * width, (cy + 0.5 * h) * height];
        let [x0, y0, x1, y1] = corners.map(f64::from);
        Scored { class, score: 1.0 / (1.0 + (-logits[place]).exp()), bbox: BoxXyxy::new(x0, y0, x1, y1), query }
    };
    ranking::largest(&logits, count).into_iter().map(one).collect()
}

/// The best `count` pairs of query and class of an image in the original image, best first. Boxes are clipped to it; those that have no area
/// there, or are no numbers, are left out, so fewer may remain. There is no suppression of doubles and no threshold.
///
/// `content` is the size of the network input without padding, `original` that of the image.
///
/// # Panics
/// If there is no such image in the batch.
pub fn detections(
    prediction: &Prediction,
    image: usize,
    content: ImageSize,
    original: ImageSize,
    count: usize,
) -> Vec<Detection> {
    let x = f64::from(original.width()) / f64::from(content.width());
    let y = f64::from(original.height()) / f64::from(content.height());
    let placed = |one: Scored| {
        let bbox = one.bbox.scaled_into::<Pixels>(x, y).clipped_to(original);
        let Scored { class, score, query, .. } = one;
        (bbox.width() > 0.0 && bbox.height() > 0.0).then_some(Detection { class, score, bbox, query })
    };
    scored(prediction, image, content, count).into_iter().filter_map(placed).collect()
}
