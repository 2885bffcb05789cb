//! Who matches whom in one image.

use std::collections::HashMap;
use std::ops::Range;

use groundling_core::{BoxXywh, BoxXyxy, ImageSize, Pixels};

use super::{AreaRange, CocoDetection, CocoError, CocoOptions, CocoTruth, IouKind, MAX_DETECTIONS, THRESHOLDS};

/// Truth and detections, checked, and sorted by category and image.
pub(super) struct Index<'a> {
    truth: &'a CocoTruth,
    detections: &'a [CocoDetection],
    options: CocoOptions,
    /// Ascending.
    pub(super) category_ids: Vec<i64>,
    /// Annotations by (category, image), file order within.
    annotations: Grouped,
    /// Detections by (category, image), best first within.
    sorted_detections: Grouped,
    /// Bounding boxes of masks, to skip pairs that do not touch: annotations, then detections.
    mask_boxes: [Vec<Option<BoxXyxy<Pixels>>>; 2],
    /// Area of every detection.
    detection_areas: Vec<f64>,
}

/// Places in a list, grouped by (category, image).
struct Grouped {
    order: Vec<u32>,
    /// Of every category: image id and where its places stand in `order`; images ascending.
    groups: Vec<Vec<(i64, Range<usize>)>>,
}

impl Grouped {
    /// Groups `keys` (category index, image id) in the order that `order` gives.
    fn new(categories: usize, order: Vec<u32>, key: impl Fn(u32) -> (usize, i64)) -> Self {
        let mut groups = vec![Vec::new(); categories];
        let mut start = 0;
        for chunk in order.chunk_by(|&a, &b| key(a) == key(b)) {
            let (category, image_id) = key(chunk[0]);
            groups[category].push((image_id, start..start + chunk.len()));
            start += chunk.len();
        }
        Self { order, groups }
    }

    fn of(&self, category: usize, image_id: i64) -> &[u32] {
        let groups = &self.groups[category];
        match groups.binary_search_by_key(&image_id, |(id, _)| *id) {
            Ok(place) => &self.order[groups[place].1.clone()],
            Err(_) => &[],
        }
    }
}

/// What became of the detections of one image and category in one area range.
///
/// Bit `k` of a set belongs to IoU threshold `k`.
pub(super) struct AreaOutcome {
    /// Objects that count.
    pub(super) positives: usize,
    /// Of every detection, best first: thresholds at which it matched.
    pub(super) matched: Vec<u16>,
    /// Of every detection: thresholds at which it counts neither way.
    pub(super) ignored: Vec<u16>,
}

/// The matches of one image, one category and one area range, for looking at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageMatches {
    /// Places in the list of detections, best first, at most 100.
    pub detections: Vec<usize>,
    /// Places in the list of annotations, in the order in which they are tried: those that count first.
    pub annotations: Vec<usize>,
    /// Whether each annotation is ignored, in the same order.
    pub annotation_ignored: Vec<bool>,
    /// `[threshold][detection]`: the annotation matched, as its place in the list of annotations.
    pub matched: Vec<Vec<Option<usize>>>,
    /// `[threshold][detection]`: whether the detection counts neither way.
    pub ignored: Vec<Vec<bool>>,
}

/// The matches of one image and category; nothing if the image or category is unknown.
///
/// # Errors
/// As [`super::evaluate`].
pub fn image_matches(
    truth: &CocoTruth,
    detections: &[CocoDetection],
    options: CocoOptions,
    (image_id, category_id, area): (i64, i64, AreaRange),
) -> Result<ImageMatches, CocoError> {
    let index = Index::build(truth, detections, options)?;
    let Ok(category) = index.category_ids.binary_search(&category_id) else {
        return Ok(ImageMatches {
            detections: Vec::new(),
            annotations: Vec::new(),
            annotation_ignored: Vec::new(),
            matched: vec![Vec::new(); THRESHOLDS],
            ignored: vec![Vec::new(); THRESHOLDS],
        });
    };
    Ok(index.pair(category, image_id).matches(area))
}

impl<'a> Index<'a> {
    pub(super) fn build(
        truth: &'a CocoTruth,
        detections: &'a [CocoDetection],
        options: CocoOptions,
    ) -> Result<Self, CocoError> {
        check(truth, detections, options)?;
        let mut category_ids: Vec<i64> = truth.categories.iter().map(|category| category.id).collect();
        category_ids.sort_unstable();
        category_ids.dedup();
        let places: HashMap<i64, usize> = category_ids.iter().enumerate().map(|(place, &id)| (id, place)).collect();

        let annotation_key = |index: u32| {
            let annotation = &truth.annotations[index as usize];
            (places[&annotation.category_id], annotation.image_id)
        };
        let mut order: Vec<u32> = (0..truth.annotations.len() as u32).collect();
        order.sort_by_cached_key(|&index| annotation_key(index));
        let annotations = Grouped::new(category_ids.len(), order, annotation_key);

        let keys: Vec<(usize, i64)> = detections.iter().map(|d| (places[&d.category_id], d.image_id)).collect();
        let mut order: Vec<u32> = (0..detections.len() as u32).collect();
        // The place in the list breaks ties, which makes the unstable sort stable.
        rayon::slice::ParallelSliceMut::par_sort_unstable_by(order.as_mut_slice(), |&a, &b| {
            let (i, j) = (a as usize, b as usize);
            keys[i].cmp(&keys[j]).then_with(|| descending(detections[i].score, detections[j].score)).then(a.cmp(&b))
        });
        let sorted_detections = Grouped::new(category_ids.len(), order, |index| keys[index as usize]);

        let masks = options.kind == IouKind::Mask;
        let mask_boxes = if masks {
            [
                truth.annotations.iter().map(|a| a.mask.as_ref().and_then(|mask| mask.bbox())).collect(),
                detections.iter().map(|d| d.mask.as_ref().and_then(|mask| mask.bbox())).collect(),
            ]
        } else {
            [Vec::new(), Vec::new()]
        };
        let area = |detection: &CocoDetection| match (&detection.mask, &detection.bbox) {
            (Some(mask), _) if masks => mask.area() as f64,
            (_, Some(bbox)) => bbox.width * bbox.height,
            _ => 0.0,
        };
        let detection_areas = detections.iter().map(area).collect();
        Ok(Self {
            truth,
            detections,
            options,
            category_ids,
            annotations,
            sorted_detections,
            mask_boxes,
            detection_areas,
        })
    }

    /// Images in which a category has objects or detections, ascending.
    pub(super) fn images_of(&self, category: usize) -> Vec<i64> {
        let ids = |grouped: &Grouped| grouped.groups[category].iter().map(|(id, _)| *id).collect::<Vec<_>>();
        let mut images = ids(&self.annotations);
        images.extend(ids(&self.sorted_detections));
        images.sort_unstable();
        images.dedup();
        images
    }

    /// The score of a detection.
    pub(super) fn score(&self, detection: u32) -> f64 {
        self.detections[detection as usize].score
    }

    /// Prepares one image and category: overlaps are computed once for all area ranges and thresholds.
    pub(super) fn pair(&self, category: usize, image_id: i64) -> Pair<'_, 'a> {
        let annotations = self.annotations.of(category, image_id);
        let detections = self.sorted_detections.of(category, image_id);
        let most = MAX_DETECTIONS[MAX_DETECTIONS.len() - 1];
        let detections = &detections[..detections.len().min(most)];
        let mut overlaps = Vec::with_capacity(annotations.len() * detections.len());
        for &detection in detections {
            overlaps.extend(annotations.iter().map(|&annotation| self.overlap(detection, annotation)));
        }
        Pair { index: self, annotations, detections, overlaps }
    }

    fn overlap(&self, detection: u32, annotation: u32) -> f64 {
        let (d, a) = (detection as usize, annotation as usize);
        let (found, object) = (&self.detections[d], &self.truth.annotations[a]);
        match self.options.kind {
            IouKind::Box => match (found.bbox, object.bbox) {
                (Some(found), Some(object_box)) => box_iou(found, object_box, object.is_crowd),
                _ => 0.0,
            },
            IouKind::Mask => {
                let touch = match (self.mask_boxes[1][d], self.mask_boxes[0][a]) {
                    (Some(found), Some(object)) => found.intersection(object) > 0.0,
                    _ => false,
                };
                match (touch, &found.mask, &object.mask) {
                    // Sizes were compared when the index was built.
                    (true, Some(found), Some(mask)) => found.iou(mask, object.is_crowd).unwrap_or(0.0),
                    _ => 0.0,
                }
            }
        }
    }
}

/// Larger scores first. Scores are finite, and 0 equals -0.
pub(super) fn descending(a: f64, b: f64) -> std::cmp::Ordering {
    b.partial_cmp(&a).unwrap_or(std::cmp::Ordering::Equal)
}

/// Continuous coordinates, no "+1"; the denominator is the detection alone if the object is a crowd.
///
/// Written on corner and sides and not with [`BoxXyxy::iou`], because `x + width - x` is not `width` in the last bit.
fn box_iou(found: BoxXywh<Pixels>, object: BoxXywh<Pixels>, is_crowd: bool) -> f64 {
    let width = (found.x + found.width).min(object.x + object.width) - found.x.max(object.x);
    let height = (found.y + found.height).min(object.y + object.height) - found.y.max(object.y);
    if width <= 0.0 || height <= 0.0 {
        return 0.0;
    }
    let intersection = width * height;
    let area = found.width * found.height;
    let over = if is_crowd { area } else { area + object.width * object.height - intersection };
    if over > 0.0 { intersection / over } else { 0.0 }
}

/// One image and category, with all overlaps.
pub(super) struct Pair<'i, 'a> {
    index: &'i Index<'a>,
    annotations: &'i [u32],
    pub(super) detections: &'i [u32],
    /// `[detection][annotation]`.
    overlaps: Vec<f64>,
}

impl Pair<'_, '_> {
    /// Which annotations are ignored, and the order in which they are tried.
    fn ranked(&self, area: AreaRange) -> (Vec<bool>, Vec<usize>) {
        let ignored: Vec<bool> = self
            .annotations
            .iter()
            .map(|&index| {
                let annotation = &self.index.truth.annotations[index as usize];
                annotation.is_crowd || !area.holds(annotation.area)
            })
            .collect();
        let mut order: Vec<usize> = (0..ignored.len()).collect();
        order.sort_by_key(|&place| ignored[place]);
        (ignored, order)
    }

    /// Matches at one threshold: of every detection, the place of its annotation among this pair's.
    fn matched(&self, threshold: f64, ignored: &[bool], order: &[usize]) -> Vec<Option<usize>> {
        let count = self.annotations.len();
        let mut taken = vec![false; count];
        let mut matches = vec![None; self.detections.len()];
        for (detection, found) in matches.iter_mut().enumerate() {
            let overlaps = &self.overlaps[detection * count..(detection + 1) * count];
            let mut best = threshold.min(1.0 - 1e-10);
            for &place in order {
                if taken[place] && !self.index.truth.annotations[self.annotations[place] as usize].is_crowd {
                    continue;
                }
                if found.is_some_and(|held: usize| !ignored[held]) && ignored[place] {
                    break;
                }
                if overlaps[place] >= best {
                    best = overlaps[place];
                    *found = Some(place);
                }
            }
            if let Some(place) = *found {
                taken[place] = true;
            }
        }
        matches
    }

    /// Whether a match counts as one.
    fn counts(&self, place: usize) -> bool {
        let id = self.index.truth.annotations[self.annotations[place] as usize].id;
        !(self.index.options.zero_id_is_no_match && id == 0)
    }

    pub(super) fn outcome(&self, area: AreaRange) -> AreaOutcome {
        let (annotation_ignored, order) = self.ranked(area);
        let positives = annotation_ignored.iter().filter(|&&ignored| !ignored).count();
        let mut matched = vec![0u16; self.detections.len()];
        let mut ignored = vec![0u16; self.detections.len()];
        let outside: Vec<bool> = self
            .detections
            .iter()
            .map(|&detection| !area.holds(self.index.detection_areas[detection as usize]))
            .collect();
        if self.annotations.is_empty() {
            outside.iter().zip(&mut ignored).for_each(|(&outside, set)| *set = if outside { u16::MAX } else { 0 });
            return AreaOutcome { positives, matched, ignored };
        }
        for k in 0..THRESHOLDS {
            let matches = self.matched(super::iou_threshold(k), &annotation_ignored, &order);
            for (detection, found) in matches.into_iter().enumerate() {
                let counted = found.filter(|&place| self.counts(place));
                matched[detection] |= u16::from(counted.is_some()) << k;
                let skip =
                    found.is_some_and(|place| annotation_ignored[place]) || (counted.is_none() && outside[detection]);
                ignored[detection] |= u16::from(skip) << k;
            }
        }
        AreaOutcome { positives, matched, ignored }
    }

    fn matches(&self, area: AreaRange) -> ImageMatches {
        let (ignored, order) = self.ranked(area);
        let outcome = self.outcome(area);
        let list = |place: usize| self.annotations[place] as usize;
        let matched = (0..THRESHOLDS).map(|k| {
            let matches = self.matched(super::iou_threshold(k), &ignored, &order);
            matches.into_iter().map(|found| found.filter(|&place| self.counts(place)).map(list)).collect()
        });
        ImageMatches {
            detections: self.detections.iter().map(|&d| d as usize).collect(),
            annotations: order.iter().map(|&place| list(place)).collect(),
            annotation_ignored: order.iter().map(|&place| ignored[place]).collect(),
            matched: matched.collect(),
            ignored: (0..THRESHOLDS).map(|k| outcome.ignored.iter().map(|set| set >> k & 1 == 1).collect()).collect(),
        }
    }
}

fn check(truth: &CocoTruth, detections: &[CocoDetection], options: CocoOptions) -> Result<(), CocoError> {
    // The size of an image's masks: by the image, else by the first mask seen.
    let mut sizes: HashMap<i64, Option<ImageSize>> = truth.images.iter().map(|image| (image.id, image.size)).collect();
    let categories: std::collections::HashSet<i64> = truth.categories.iter().map(|category| category.id).collect();
    let missing = if options.kind == IouKind::Box { "box" } else { "mask" };
    let mut one = |what, index, (image_id, category_id), numbers: &[(&'static str, f64)], shape: Shape| {
        let Some(size) = sizes.get_mut(&image_id) else {
            return Err(CocoError::UnknownImage { what, index, id: image_id });
        };
        if !categories.contains(&category_id) {
            return Err(CocoError::UnknownCategory { what, index, id: category_id });
        }
        let edges = shape.bbox.map(BoxXywh::to_array).unwrap_or_default();
        let boxes = edges.iter().map(|&value| ("box", value));
        if let Some((field, found)) = numbers.iter().copied().chain(boxes).find(|(_, value)| !value.is_finite()) {
            return Err(CocoError::NotFinite { what, index, field, found });
        }
        match (options.kind, shape.mask_size) {
            (IouKind::Box, _) if shape.bbox.is_none() => Err(CocoError::NoShape { what, index, missing }),
            (IouKind::Box, _) => Ok(()),
            (IouKind::Mask, None) => Err(CocoError::NoShape { what, index, missing }),
            (IouKind::Mask, Some(found)) => {
                let expected = *size.get_or_insert(found);
                if expected == found {
                    return Ok(());
                }
                Err(CocoError::MaskSizes { image_id, left: expected, right: found })
            }
        }
    };
    for (index, annotation) in truth.annotations.iter().enumerate() {
        let shape = Shape { bbox: annotation.bbox, mask_size: annotation.mask.as_ref().map(|mask| mask.size()) };
        let ids = (annotation.image_id, annotation.category_id);
        one("annotation", index, ids, &[("area", annotation.area)], shape)?;
    }
    for (index, detection) in detections.iter().enumerate() {
        let shape = Shape { bbox: detection.bbox, mask_size: detection.mask.as_ref().map(|mask| mask.size()) };
        let ids = (detection.image_id, detection.category_id);
        one("detection", index, ids, &[("score", detection.score)], shape)?;
    }
    Ok(())
}

struct Shape {
    bbox: Option<BoxXywh<Pixels>>,
    mask_size: Option<ImageSize>,
}
