//! From what a model says about the pixels of its canvas to masks of the original image, one for each connected part.

use groundling_core::{ImageSize, Placement, PredictedTarget, Rle};
use groundling_models::contract::MaskLogits;

/// Most parts that are told apart; what is smaller than these is one more.
const MOST_PARTS: usize = 32;

/// Connected parts of the mask at the size of the original image, best first, each with its box and the mean probability of its pixels.
/// Together they are the whole mask.
///
/// A pixel of the image is inside where the canvas's log-odds, bilinear between the centres of its pixels, are above `cut`: 0 for pixels
/// that are likelier target than background. Parts touch by sides or corners.
pub fn instances(mask: &MaskLogits, placement: &Placement, cut: f32) -> Vec<PredictedTarget> {
    let size = placement.image();
    let (height, width) = (size.height() as usize, size.width() as usize);
    let (rows, columns) = (samples(placement, true, mask.height), samples(placement, false, mask.width));
    let odds: Vec<f32> = rows.iter().flat_map(|row| columns.iter().map(|column| between(mask, row, column))).collect();
    let Parts { labels, mut parts } = parts(&odds, [height, width], cut);
    // Largest first, so that what is left over is what is small.
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|&part| std::cmp::Reverse(parts[part].pixels));
    let mut place = vec![0; parts.len()];
    for (rank, part) in order.into_iter().enumerate() {
        place[part] = rank.min(MOST_PARTS);
    }
    let count = parts.len().min(MOST_PARTS + 1);
    let mut merged = vec![Part::default(); count];
    for (part, &to) in parts.drain(..).zip(&place) {
        merged[to].pixels += part.pixels;
        merged[to].chances += part.chances;
    }
    let masks = masks(&labels, &place, count, size);
    let mut targets: Vec<PredictedTarget> =
        merged.iter().zip(masks).filter_map(|(part, mask)| target(part, mask)).collect();
    targets.sort_by(|a, b| b.score.total_cmp(&a.score));
    targets
}

fn target(part: &Part, mask: Rle) -> Option<PredictedTarget> {
    let score = (part.chances / part.pixels.max(1) as f64).clamp(0.0, 1.0);
    Some(PredictedTarget { score, bbox: mask.bbox()?, mask: Some(mask), label: None })
}

/// Two neighbours and the share of the second.
struct Sample {
    low: usize,
    high: usize,
    share: f32,
}

/// Where each row or column of the image lies between those of the canvas.
fn samples(placement: &Placement, vertical: bool, canvas: usize) -> Vec<Sample> {
    let (image, content) = (placement.image(), placement.content());
    let (sides, first, length) = if vertical {
        (image.height(), content.top, content.height)
    } else {
        (image.width(), content.left, content.width)
    };
    let scale = f64::from(length) / f64::from(sides);
    // Beyond the content there is no image to interpolate with.
    let (least, most) = (f64::from(first), (f64::from(first) + f64::from(length) - 1.0).min(canvas as f64 - 1.0));
    let sample = |index: u32| {
        let place = (f64::from(first) + (f64::from(index) + 0.5) * scale - 0.5).clamp(least, most.max(least));
        let low = place as usize;
        Sample { low, high: (low + 1).min(most as usize), share: (place - low as f64) as f32 }
    };
    (0..sides).map(sample).collect()
}

fn between(mask: &MaskLogits, row: &Sample, column: &Sample) -> f32 {
    let at = |row: usize, column: usize| mask.logits[row * mask.width + column];
    let line = |row: usize| {
        let (low, high) = (at(row, column.low), at(row, column.high));
        low + (high - low) * column.share
    };
    let (low, high) = (line(row.low), line(row.high));
    low + (high - low) * row.share
}

/// A connected part: its pixels, and the sum of their probabilities.
#[derive(Debug, Clone, Default)]
struct Part {
    pixels: u64,
    chances: f64,
}

/// Which part each pixel belongs to, from 1; 0 is background.
struct Parts {
    labels: Vec<u32>,
    parts: Vec<Part>,
}

/// Connected parts in the order of their first pixel, row by row.
fn parts(odds: &[f32], [height, width]: [usize; 2], cut: f32) -> Parts {
    let mut labels = vec![0u32; odds.len()];
    let mut parts = Vec::new();
    let mut open = Vec::new();
    for first in 0..odds.len() {
        if odds[first] <= cut || labels[first] != 0 {
            continue;
        }
        let label = u32::try_from(parts.len() + 1).unwrap_or(u32::MAX);
        let mut part = Part::default();
        labels[first] = label;
        open.push(first);
        while let Some(pixel) = open.pop() {
            part.pixels += 1;
            part.chances += 1.0 / (1.0 + f64::from(-odds[pixel]).exp());
            let (row, column) = (pixel / width, pixel % width);
            for row in row.saturating_sub(1)..(row + 2).min(height) {
                for column in column.saturating_sub(1)..(column + 2).min(width) {
                    let other = row * width + column;
                    if odds[other] > cut && labels[other] == 0 {
                        labels[other] = label;
                        open.push(other);
                    }
                }
            }
        }
        parts.push(part);
    }
    Parts { labels, parts }
}

/// Run lengths, column by column, of `count` masks; `place` says which a part belongs to.
fn masks(labels: &[u32], place: &[usize], count: usize, size: ImageSize) -> Vec<Rle> {
    let (height, width) = (size.height() as usize, size.width() as usize);
    let mut runs: Vec<(Vec<u32>, usize)> = vec![(Vec::new(), 0); count];
    let short = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    for column in 0..width {
        for row in 0..height {
            let label = labels[row * width + column];
            if label == 0 {
                continue;
            }
            let (counts, end) = &mut runs[place[label as usize - 1]];
            let position = column * height + row;
            match counts.last_mut() {
                Some(last) if *end == position => *last += 1,
                _ => counts.extend([short(position - *end), 1]),
            }
            *end = position + 1;
        }
    }
    let close = |(mut counts, end): (Vec<u32>, usize)| {
        if end < labels.len() {
            counts.push(short(labels.len() - end));
        }
        Rle::from_counts(size, counts).unwrap_or_else(|_| Rle::empty(size))
    };
    runs.into_iter().map(close).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use groundling_core::{Anchor, Rounding};

    /// A canvas from a picture of it.
    fn canvas(rows: &[&str]) -> MaskLogits {
        let logits = rows.iter().flat_map(|row| row.chars().map(|c| if c == '#' { 2.0 } else { -2.0 })).collect();
        MaskLogits { height: rows.len(), width: rows[0].len(), logits }
    }

    fn union(targets: &[PredictedTarget]) -> u64 {
        targets.iter().map(|target| target.mask.as_ref().unwrap().area()).sum()
    }

    #[test]
    fn parts_have_masks_boxes_and_scores() {
        let mask = canvas(&["##....", "##...#", "....#.", "......", "#.....", "......"]);
        let placement = Placement::square_resize(ImageSize::square(6).unwrap(), 6).unwrap();
        let targets = instances(&mask, &placement, 0.0);
        let chance = 1.0 / (1.0 + (-2.0f64).exp());
        assert_eq!(targets.len(), 3, "corners touch");
        assert!(targets.iter().all(|target| (target.score - chance).abs() < 1e-9));
        let mut boxes: Vec<[f64; 4]> = targets.iter().map(|target| target.bbox.to_array()).collect();
        boxes.sort_by(|a, b| a.partial_cmp(b).unwrap());
        assert_eq!(boxes, [[0.0, 0.0, 2.0, 2.0], [0.0, 4.0, 1.0, 5.0], [4.0, 1.0, 6.0, 3.0]]);
        let whole = targets.iter().map(|target| target.mask.clone().unwrap()).reduce(|a, b| a.union(&b).unwrap());
        let whole = whole.unwrap().to_mask();
        for (index, logit) in mask.logits.iter().enumerate() {
            assert_eq!(whole.pixels()[index], *logit > 0.0, "{index}");
        }
        assert!(instances(&canvas(&["......"; 6]), &placement, 0.0).is_empty());
    }

    #[test]
    fn masks_have_the_size_of_the_image() {
        let mask = canvas(&["....", ".##.", ".##.", "...."]);
        let placement = Placement::square_resize(ImageSize::new(8, 16).unwrap(), 4).unwrap();
        let [target] = &instances(&mask, &placement, 0.0)[..] else { panic!("one part") };
        assert_eq!(target.mask.as_ref().unwrap().size(), ImageSize::new(8, 16).unwrap());
        assert_eq!(target.bbox.to_array(), [4.0, 2.0, 12.0, 6.0]);
        // In a letterbox what lies beside the picture is no part of it.
        let image = ImageSize::new(4, 8).unwrap();
        let placement = Placement::letterbox(image, 4, Rounding::HalfUp, Anchor::TopLeft).unwrap();
        let targets = instances(&canvas(&["#...", "....", "####", "####"]), &placement, 0.0);
        assert!(targets.len() == 1 && targets[0].bbox.y1 <= 4.0 && targets[0].bbox.x1 < 4.0, "{targets:?}");
    }

    #[test]
    fn many_small_parts_stay_one_mask() {
        let rows: Vec<String> = (0..40)
            .map(|row| (0..40).map(|column| if row % 2 == 0 && column % 2 == 0 { '#' } else { '.' }).collect())
            .collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let placement = Placement::square_resize(ImageSize::square(40).unwrap(), 40).unwrap();
        let targets = instances(&canvas(&rows), &placement, 0.0);
        assert_eq!((targets.len(), union(&targets)), (MOST_PARTS + 1, 400));
    }
}
