//! Which sample comes when: a pure function of the recipe and the place in the run.

use std::sync::{Arc, Mutex, PoisonError};

use groundling_data::rng::Rng;

/// Groups after which the mixture of sources repeats.
const PATTERN: usize = 1024;

/// Spreads groups of samples over sources by their weights.
#[derive(Debug, Clone)]
pub(crate) struct Mix {
    /// Source of each group.
    pattern: Vec<usize>,
    /// How many groups of its own source come before each group.
    before: Vec<u64>,
    /// Groups of each source in the pattern.
    totals: Vec<u64>,
}

impl Mix {
    /// Every source gets its share of the pattern to the nearest group, and at least one.
    pub(crate) fn new(weights: &[f64], seed: u64) -> Self {
        let sum: f64 = weights.iter().sum();
        let mut pattern = Vec::with_capacity(PATTERN + weights.len());
        for (source, weight) in weights.iter().enumerate() {
            let count = (weight / sum * PATTERN as f64).round().max(1.0) as usize;
            pattern.extend(std::iter::repeat_n(source, count));
        }
        Rng::from_parts(&[seed, 1]).shuffle(&mut pattern);
        let mut totals = vec![0; weights.len()];
        let count = |&source: &usize| {
            totals[source] += 1;
            totals[source] - 1
        };
        let before = pattern.iter().map(count).collect();
        Self { pattern, before, totals }
    }

    /// The source of a group, and which of that source's groups it is.
    pub(crate) fn group(&self, group: u64) -> (usize, u64) {
        let length = self.pattern.len() as u64;
        let (turn, place) = (group / length, (group % length) as usize);
        let source = self.pattern[place];
        (source, turn * self.totals[source] + self.before[place])
    }
}

/// Where in a source a sample comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Index of the picture.
    pub picture: usize,
    /// Pass over the data.
    pub epoch: u64,
    /// Which phrase of the picture, in this epoch's order of its phrases. May be beyond the last: then they start again. 0 where pictures
    /// are samples themselves.
    pub phrase: usize,
}

/// What there is in a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pictures {
    /// Generated pictures: how many.
    Generated(usize),
    /// Pictures in files: how many samples each has.
    Files(Vec<usize>),
}

/// The order of one source.
#[derive(Debug)]
pub(crate) enum Order {
    /// Generated pictures are random already: they come in their own order, each for `phrases` samples.
    Generated {
        /// How many there are.
        pictures: usize,
        /// Samples of one picture.
        phrases: usize,
    },
    /// Every phrase of a data set once an epoch, in random order but for phrases of one picture, which stay together in groups.
    Files {
        /// Phrases of each picture.
        counts: Vec<usize>,
        /// Most samples of a group.
        phrases: usize,
        /// Seed of the order.
        seed: u64,
        /// The epoch that was asked for last.
        epoch: Mutex<Option<Arc<Epoch>>>,
    },
}

/// The order of one epoch.
#[derive(Debug)]
pub(crate) struct Epoch {
    number: u64,
    /// Picture and first phrase of each group.
    groups: Vec<(usize, usize)>,
    /// Number of the first sample of each group.
    starts: Vec<u64>,
}

impl Order {
    pub(crate) fn new(pictures: Pictures, phrases: usize, seed: u64) -> Self {
        match pictures {
            Pictures::Files(counts) => Order::Files { counts, phrases, seed, epoch: Mutex::new(None) },
            Pictures::Generated(pictures) => Order::Generated { pictures, phrases },
        }
    }

    /// Samples of one pass.
    pub(crate) fn samples(&self) -> u64 {
        match self {
            Order::Generated { pictures, phrases } => (*pictures as u64).saturating_mul(*phrases as u64),
            Order::Files { counts, .. } => counts.iter().map(|&count| count as u64).sum(),
        }
    }

    /// Where the sample of this number, counted over all epochs, comes from. The source must not be empty.
    pub(crate) fn place(&self, sample: u64) -> Place {
        match self {
            Order::Generated { pictures, phrases } => {
                let (group, phrase) = (sample / *phrases as u64, (sample % *phrases as u64) as usize);
                let pictures = *pictures as u64;
                Place { picture: (group % pictures) as usize, epoch: group / pictures, phrase }
            }
            Order::Files { counts, phrases, seed, epoch } => {
                let total = self.samples();
                let (number, within) = (sample / total, sample % total);
                // A poisoned lock holds a finished order all the same: it is replaced as a whole.
                let mut known = epoch.lock().unwrap_or_else(PoisonError::into_inner);
                let order = match &*known {
                    Some(order) if order.number == number => order.clone(),
                    _ => known.insert(Arc::new(Epoch::new(counts, *phrases, *seed, number))).clone(),
                };
                drop(known);
                let group = order.starts.partition_point(|&start| start <= within) - 1;
                let (picture, first) = order.groups[group];
                Place { picture, epoch: number, phrase: first + (within - order.starts[group]) as usize }
            }
        }
    }
}

impl Epoch {
    fn new(counts: &[usize], phrases: usize, seed: u64, number: u64) -> Self {
        let of_picture = |(picture, &count): (usize, &usize)| {
            (0..count).step_by(phrases).map(move |first| (picture, first, phrases.min(count - first)))
        };
        let mut groups: Vec<(usize, usize, usize)> = counts.iter().enumerate().flat_map(of_picture).collect();
        Rng::from_parts(&[seed, 2, number]).shuffle(&mut groups);
        let mut at = 0;
        let mut start = |&(_, _, count): &(usize, usize, usize)| {
            at += count as u64;
            at - count as u64
        };
        let starts = groups.iter().map(&mut start).collect();
        Self { number, starts, groups: groups.into_iter().map(|(picture, first, _)| (picture, first)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_get_their_shares_without_gaps() {
        let mix = Mix::new(&[3.0, 1.0, 1e-9], 5);
        let mut next = [0; 3];
        for group in 0..10_000 {
            let (source, number) = mix.group(group);
            assert_eq!(number, next[source], "groups of a source come one after the other");
            next[source] += 1;
        }
        assert!((next[0] as f64 / next[1] as f64 - 3.0).abs() < 0.05, "{next:?}");
        assert!(next[2] > 0, "even the smallest share is trained on");
    }

    #[test]
    fn an_epoch_has_every_phrase_once() {
        let order = Order::Files { counts: vec![3, 0, 1, 7], phrases: 2, seed: 9, epoch: Mutex::new(None) };
        assert_eq!(order.samples(), 11);
        let epoch = |number: u64| (0..11).map(|i| order.place(number * 11 + i)).collect::<Vec<_>>();
        let (first, second) = (epoch(0), epoch(1));
        let pairs = |places: &[Place]| {
            let mut pairs: Vec<_> = places.iter().map(|place| (place.picture, place.phrase)).collect();
            pairs.sort_unstable();
            pairs
        };
        let all: Vec<_> = [(0, 3), (2, 1), (3, 7)].iter().flat_map(|&(p, n)| (0..n).map(move |i| (p, i))).collect();
        assert_eq!((pairs(&first), pairs(&second)), (all.clone(), all));
        assert_ne!(
            first.iter().map(|p| (p.picture, p.phrase)).collect::<Vec<_>>(),
            second.iter().map(|p| (p.picture, p.phrase)).collect::<Vec<_>>()
        );
        assert_eq!(epoch(0), first, "asked again, out of order");
        let together = first.windows(2).filter(|pair| pair[0].picture == pair[1].picture).count();
        assert!(together >= 4, "phrases of one picture stay together: {first:?}");
    }

    #[test]
    fn generated_pictures_come_in_turn() {
        let order = Order::Generated { pictures: 3, phrases: 2 };
        let places: Vec<_> = (0..8).map(|i| order.place(i)).map(|p| (p.picture, p.phrase, p.epoch)).collect();
        let expected = [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0), (2, 0, 0), (2, 1, 0), (0, 0, 1), (0, 1, 1)];
        assert_eq!(places, expected);
    }
}
