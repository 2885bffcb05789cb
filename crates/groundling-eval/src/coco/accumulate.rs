//! From matches to precision, recall and the twelve numbers.

use rayon::prelude::*;

use super::matching::{AreaOutcome, Index, descending};
use super::{AreaRange, MAX_DETECTIONS, RECALLS, THRESHOLDS, recall_level};

const AREAS: usize = AreaRange::ALL.len();
const LIMITS: usize = MAX_DETECTIONS.len();

/// What an evaluation found. Values are fractions.
#[derive(Debug, Clone, PartialEq)]
pub struct CocoEvaluation {
    category_ids: Vec<i64>,
    /// `[category][area][limit]`, `None` where the category has no object in the area range.
    entries: Vec<Option<Entry>>,
}

/// One category, area range and limit of detections.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    /// Last recall at every threshold.
    recall: [f64; THRESHOLDS],
    /// `[threshold][recall]`.
    precision: Vec<f64>,
}

/// The difference between 1 and the next larger number, which keeps 0/0 away without changing a sum.
const SPACING: f64 = f64::EPSILON;

pub(super) fn accumulate(index: &Index<'_>) -> CocoEvaluation {
    let of_category = |category: usize| -> Vec<Option<Entry>> { category_entries(index, category) };
    let entries = (0..index.category_ids.len()).into_par_iter().flat_map_iter(of_category).collect();
    CocoEvaluation { category_ids: index.category_ids.clone(), entries }
}

/// A detection in the ranking of its category.
struct Ranked {
    score: f64,
    image: i64,
    /// Its rank in its own image.
    rank: usize,
    matched: [u16; AREAS],
    ignored: [u16; AREAS],
}

/// An image, and its objects that count in every area range.
type Positives = (i64, [usize; AREAS]);

/// The ranking of a category, and of every image the number of objects that count in every area range.
fn ranked_category(index: &Index<'_>, category: usize) -> (Vec<Ranked>, Vec<Positives>) {
    let per_image: Vec<(Vec<Ranked>, Positives)> = index
        .images_of(category)
        .par_iter()
        .with_min_len(64)
        .map(|&image| {
            let pair = index.pair(category, image);
            let outcomes: [AreaOutcome; AREAS] = AreaRange::ALL.map(|area| pair.outcome(area));
            let ranked = pair.detections.iter().enumerate().map(|(rank, &detection)| Ranked {
                score: index.score(detection),
                image,
                rank,
                matched: std::array::from_fn(|area| outcomes[area].matched[rank]),
                ignored: std::array::from_fn(|area| outcomes[area].ignored[rank]),
            });
            (ranked.collect(), (image, std::array::from_fn(|area| outcomes[area].positives)))
        })
        .collect();
    let (rankings, positives): (Vec<Vec<Ranked>>, Vec<Positives>) = per_image.into_iter().unzip();
    let mut ranking: Vec<Ranked> = rankings.into_iter().flatten().collect();
    // Stable, over images in ascending order: the ranking for fewer detections an image is this one with gaps.
    ranking.sort_by(|a, b| descending(a.score, b.score));
    (ranking, positives)
}

fn category_entries(index: &Index<'_>, category: usize) -> Vec<Option<Entry>> {
    let (ranking, per_image) = ranked_category(index, category);
    let positives = |area: usize| per_image.iter().map(|(_, counts)| counts[area]).sum::<usize>();
    let cells = (0..AREAS).flat_map(|area| (0..LIMITS).map(move |limit| (area, limit)));
    cells
        .map(|(area, limit)| {
            let positives = positives(area);
            (positives > 0).then(|| entry(&ranking, (area, limit), positives))
        })
        .collect()
}

/// The ranking of one category over images 1 to N without crowds, from which AP (all areas, 100 detections) is quickly
/// computed for any multiplicity of the images: for resampling.
pub(crate) struct ApRanking {
    /// Of every detection, best first: the place of its image.
    images: Vec<u32>,
    /// Of every threshold: places in the ranking that matched.
    hits: [Vec<u32>; THRESHOLDS],
    /// Of every image: objects.
    positives: Vec<u32>,
}

impl ApRanking {
    pub(super) fn of(index: &Index<'_>, images: usize) -> Self {
        let (ranking, per_image) = ranked_category(index, 0);
        let place = |image: i64| (image - 1) as usize;
        let mut positives = vec![0; images];
        per_image.iter().for_each(|&(image, counts)| positives[place(image)] = counts[0] as u32);
        // Without crowds only absurdly large boxes are ignored; they are no part of the ranking then.
        let counted: Vec<Ranked> = ranking.into_iter().filter(|detection| detection.ignored[0] == 0).collect();
        let hits = |k: usize| (0u32..).zip(&counted).filter(move |(_, d)| d.matched[0] >> k & 1 == 1).map(|(at, _)| at);
        Self {
            hits: std::array::from_fn(|k| hits(k).collect()),
            images: counted.iter().map(|detection| place(detection.image) as u32).collect(),
            positives,
        }
    }

    /// AP as a fraction, every image taken `counts` times; `None` without objects.
    pub(crate) fn ap(&self, counts: &[u32]) -> Option<f64> {
        let positives: u64 = self.positives.iter().zip(counts).map(|(&p, &c)| u64::from(p) * u64::from(c)).sum();
        if positives == 0 {
            return None;
        }
        let mut ranked = 0u64;
        let ranked_to: Vec<u64> = self
            .images
            .iter()
            .map(|&image| {
                ranked += u64::from(counts[image as usize]);
                ranked
            })
            .collect();
        // Precision is highest and recall grows at hits only, and at the last copy of a hit.
        let mut sum = 0.0;
        let mut points: Vec<(f64, f64)> = Vec::new();
        for hits in &self.hits {
            points.clear();
            let mut right = 0u64;
            for &at in hits {
                let copies = counts[self.images[at as usize] as usize];
                if copies > 0 {
                    right += u64::from(copies);
                    let precision = right as f64 / (ranked_to[at as usize] as f64 + SPACING);
                    points.push((right as f64 / positives as f64, precision));
                }
            }
            let (mut best, mut level) = (0.0f64, RECALLS);
            // From the right: levels above the recall before a point have the best precision from that point on.
            for place in (0..points.len()).rev() {
                best = best.max(points[place].1);
                let before = place.checked_sub(1).map_or(-1.0, |p| points[p].0);
                while level > 0 && recall_level(level - 1) > before {
                    level -= 1;
                    sum += if recall_level(level) <= points[place].0 { best } else { 0.0 };
                }
            }
        }
        Some(sum / (THRESHOLDS * RECALLS) as f64)
    }
}

fn entry(ranking: &[Ranked], (area, limit): (usize, usize), positives: usize) -> Entry {
    let most = MAX_DETECTIONS[limit];
    let mut entry = Entry { recall: [0.0; THRESHOLDS], precision: vec![0.0; THRESHOLDS * RECALLS] };
    let (mut recalls, mut precisions) = (Vec::with_capacity(ranking.len()), Vec::with_capacity(ranking.len()));
    for k in 0..THRESHOLDS {
        recalls.clear();
        precisions.clear();
        let (mut right, mut wrong) = (0u64, 0u64);
        for detection in ranking.iter().filter(|detection| detection.rank < most) {
            // An ignored detection would repeat the point before it, which changes no maximum and no first position.
            if detection.ignored[area] >> k & 1 == 1 {
                continue;
            }
            let hit = detection.matched[area] >> k & 1;
            right += u64::from(hit);
            wrong += u64::from(1 - hit);
            recalls.push(right as f64 / positives as f64);
            precisions.push(right as f64 / (wrong as f64 + right as f64 + SPACING));
        }
        entry.recall[k] = recalls.last().copied().unwrap_or(0.0);
        for place in (1..precisions.len()).rev() {
            precisions[place - 1] = precisions[place - 1].max(precisions[place]);
        }
        let mut place = 0;
        for level in 0..RECALLS {
            while recalls.get(place).is_some_and(|&recall| recall < recall_level(level)) {
                place += 1;
            }
            entry.precision[k * RECALLS + level] = precisions.get(place).copied().unwrap_or(0.0);
        }
    }
    entry
}

impl CocoEvaluation {
    /// Category ids, ascending; the order of every `category` index.
    pub fn category_ids(&self) -> &[i64] {
        &self.category_ids
    }

    fn entry(&self, category: usize, area: AreaRange, limit: usize) -> Option<&Entry> {
        let area = AreaRange::ALL.iter().position(|&other| other == area)?;
        self.entries.get((category * AREAS + area) * LIMITS + limit)?.as_ref()
    }

    /// Recall at threshold index `threshold` with [`MAX_DETECTIONS`]`[limit]` detections an image; `None` if the
    /// category has no object in the area range, or an index is out of range.
    pub fn recall(&self, threshold: usize, category: usize, area: AreaRange, limit: usize) -> Option<f64> {
        self.entry(category, area, limit)?.recall.get(threshold).copied()
    }

    /// The 101 precisions at threshold index `threshold`; `None` as for [`CocoEvaluation::recall`].
    pub fn precision(&self, threshold: usize, category: usize, area: AreaRange, limit: usize) -> Option<&[f64]> {
        self.entry(category, area, limit)?.precision.chunks_exact(RECALLS).nth(threshold)
    }

    /// AP of every category: mean precision over thresholds and recalls, area all, 100 detections an image.
    pub fn per_category_ap(&self) -> Vec<(i64, Option<f64>)> {
        let ap = |category| self.mean_precision(category..category + 1, 0..THRESHOLDS, AreaRange::All);
        self.category_ids.iter().enumerate().map(|(category, &id)| (id, ap(category))).collect()
    }

    /// The twelve numbers, see the [module](super); names in [`super::STAT_NAMES`].
    pub fn stats(&self) -> [Option<f64>; 12] {
        let categories = 0..self.category_ids.len();
        let precision = |thresholds, area| self.mean_precision(categories.clone(), thresholds, area);
        let recall = |area, limit| self.mean_recall(categories.clone(), area, limit);
        let all = 0..THRESHOLDS;
        [
            precision(all.clone(), AreaRange::All),
            precision(0..1, AreaRange::All),
            precision(5..6, AreaRange::All),
            precision(all.clone(), AreaRange::Small),
            precision(all.clone(), AreaRange::Medium),
            precision(all, AreaRange::Large),
            recall(AreaRange::All, 0),
            recall(AreaRange::All, 1),
            recall(AreaRange::All, 2),
            recall(AreaRange::Small, 2),
            recall(AreaRange::Medium, 2),
            recall(AreaRange::Large, 2),
        ]
    }

    fn mean_precision(
        &self,
        categories: std::ops::Range<usize>,
        thresholds: std::ops::Range<usize>,
        area: AreaRange,
    ) -> Option<f64> {
        let cells = categories.flat_map(|category| thresholds.clone().map(move |threshold| (category, threshold)));
        // Sums of 101 first: fewer rounding errors than one long sum.
        let rows = cells.filter_map(|(category, threshold)| self.precision(threshold, category, area, LIMITS - 1));
        let (sum, count) =
            rows.fold((0.0, 0usize), |(sum, count), row| (sum + row.iter().sum::<f64>(), count + row.len()));
        (count > 0).then(|| sum / count as f64)
    }

    fn mean_recall(&self, categories: std::ops::Range<usize>, area: AreaRange, limit: usize) -> Option<f64> {
        let rows = categories.filter_map(|category| self.entry(category, area, limit));
        let (sum, count) = rows
            .fold((0.0, 0usize), |(sum, count), entry| (sum + entry.recall.iter().sum::<f64>(), count + THRESHOLDS));
        (count > 0).then(|| sum / count as f64)
    }
}
