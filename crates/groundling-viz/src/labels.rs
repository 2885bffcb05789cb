//! Where labels go: next to what they name, inside the picture, and clear of each other while there is room.

use groundling_core::{BoxXyxy, Pixels};

/// The places already taken in one picture.
pub(crate) struct Labels {
    width: f64,
    height: f64,
    taken: Vec<BoxXyxy<Pixels>>,
    /// Area that plates may still cover.
    budget: f64,
}

/// Share of the picture that plates may cover: more would hide what they name.
const MOST_COVERED: f64 = 0.35;

impl Labels {
    pub(crate) fn new(width: f64, height: f64) -> Self {
        Self { width, height, taken: Vec::new(), budget: width * height * MOST_COVERED }
    }

    /// Keeps labels away from a region.
    pub(crate) fn occupy(&mut self, region: BoxXyxy<Pixels>) {
        self.taken.push(region);
    }

    /// Whether a box is sound and touches the picture, that is, whether it is drawn at all.
    pub(crate) fn can_see(&self, bbox: BoxXyxy<Pixels>) -> bool {
        let sound = bbox.is_finite() && bbox.x0 <= bbox.x1 && bbox.y0 <= bbox.y1;
        sound && bbox.x1 >= 0.0 && bbox.y1 >= 0.0 && bbox.x0 <= self.width && bbox.y0 <= self.height
    }

    /// A place for a plate of `width` x `height` pixels that names `bbox`, whose lines are `line` pixels thick; on whole
    /// pixels. `None` if the picture is smaller than the plate, or plates cover too much of it already.
    pub(crate) fn place(
        &mut self,
        bbox: BoxXyxy<Pixels>,
        width: f64,
        height: f64,
        line: f64,
    ) -> Option<BoxXyxy<Pixels>> {
        let (width, height) = (width.ceil(), height.ceil());
        if width > self.width || height > self.height || width * height > self.budget {
            return None;
        }
        let bbox = bbox.clipped(self.width, self.height);
        let half = (line / 2.0).ceil();
        let (left, right) = (bbox.x0 - half, bbox.x1 + half - width);
        let (above, below) = (bbox.y0 - half - height, bbox.y1 + half);
        let (top, bottom) = (bbox.y0 + half, bbox.y1 - half - height);
        let (inner_left, inner_right) = (bbox.x0 + half, bbox.x1 - half - width);
        let favourites = [
            (left, above),
            (right, above),
            (left, below),
            (right, below),
            (inner_left, top),
            (inner_right, top),
            (inner_left, bottom),
            (inner_right, bottom),
            (bbox.x1 + half, bbox.y0),
            (bbox.x0 - half - width, bbox.y0),
        ];
        // Last resort: the rows of the picture from the box outwards, at the left edge of the box.
        let rows = (1..40).flat_map(|row| [f64::from(row), -f64::from(row)]).map(|row| (left, above + row * height));
        let mut best: Option<(f64, BoxXyxy<Pixels>)> = None;
        for (rank, (x, y)) in favourites.into_iter().chain(rows).enumerate() {
            let plate = self.inside(x, y, width, height);
            // Pulling a plate inside may lay it over its own box; covering other plates is what must not happen.
            let moved = (plate.x0 - x).abs() + (plate.y0 - y).abs();
            let covered: f64 = self.taken.iter().map(|other| other.intersection(plate)).sum();
            let cost = covered * 100.0 + moved.min(1e6) + rank as f64 * height * 0.5;
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, plate));
            }
            if covered == 0.0 && moved == 0.0 {
                break;
            }
        }
        let (_, plate) = best?;
        self.budget -= width * height;
        self.taken.push(plate);
        Some(plate)
    }

    fn inside(&self, x: f64, y: f64, width: f64, height: f64) -> BoxXyxy<Pixels> {
        let x = x.round().clamp(0.0, (self.width - width).max(0.0));
        let y = y.round().clamp(0.0, (self.height - height).max(0.0));
        BoxXyxy::new(x, y, x + width, y + height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_one_place_do_not_cover_each_other() {
        let mut labels = Labels::new(640.0, 480.0);
        let bbox = BoxXyxy::new(200.0, 100.0, 300.0, 160.0);
        let plates: Vec<_> = (0..12).filter_map(|_| labels.place(bbox, 120.0, 20.0, 3.0)).collect();
        assert_eq!(plates.len(), 12);
        for (index, plate) in plates.iter().enumerate() {
            assert!(plates[..index].iter().all(|other| other.intersection(*plate) == 0.0), "{index}: {plate:?}");
        }
        assert_eq!(plates[0].to_array(), [198.0, 78.0, 318.0, 98.0], "the first sits on its box");
    }

    #[test]
    fn plates_stay_inside_or_are_left_out() {
        let mut labels = Labels::new(100.0, 50.0);
        for bbox in [BoxXyxy::new(-1e9, -1e9, 1e9, 1e9), BoxXyxy::new(99.0, 49.0, 99.0, 49.0)] {
            let plate = labels.place(bbox, 79.5, 10.0, 2.0).unwrap();
            assert!(plate.x0 >= 0.0 && plate.y0 >= 0.0 && plate.x1 <= 100.0 && plate.y1 <= 50.0, "{plate:?}");
        }
        assert_eq!(labels.place(BoxXyxy::new(0.0, 0.0, 9.0, 9.0), 101.0, 2.0, 2.0), None);
        // 1600 of 5000 pixels are covered now, 1750 may be.
        assert_eq!(labels.place(BoxXyxy::new(0.0, 0.0, 9.0, 9.0), 20.0, 10.0, 2.0), None);
    }
}
