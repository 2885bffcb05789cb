//! Inference: only what is kept is embedded and run.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use groundling_core::{BoxCxcywh, ContentRect};

use super::choice::{Budget, Candidates, Votes};
use super::flops::LevelLoad;
use super::layer::{Cache, Passed, Wanted};
use super::{ScanFormer, ScanFormerConfig, geometry, tokens};
use crate::contract::{GroundOptions, Grounded, GroundedTarget, LevelTrace, OptionError};

/// A phrase, read: its keys and values in every layer.
#[derive(Debug, Clone)]
pub struct Phrase {
    caches: Vec<Cache>,
    tokens: usize,
}

/// A picture, prepared: patches of every level, the tokens of the first.
#[derive(Debug, Clone)]
pub struct View {
    /// `[N, 3 P P]` of each level.
    pixels: Vec<Tensor<2>>,
    /// Valid patches of each level, in raster order.
    valid: Arc<Vec<Vec<usize>>>,
    /// `[1, N of valid, D]` of level 0, which is read whatever the phrase.
    first: Tensor<3>,
    /// What places add, `[sum of N, D]`.
    places: Tensor<2>,
}

/// What an observer is shown.
#[derive(Debug, Clone)]
pub enum Seen {
    /// Tokens of a block after so many layers, `[B, N, D]`.
    Tokens {
        /// `None` is the phrase.
        level: Option<usize>,
        /// 0: as they enter the first.
        layers: usize,
        /// Answering token, kept patches in raster order, constants, padding.
        tokens: Tensor<3>,
    },
    /// What a level's block adds to the logits of its keys, `[B, N]`.
    Bias {
        /// The level.
        level: usize,
        /// 0, the logarithm of a number of constants, or minus infinity.
        bias: Tensor<2>,
    },
    /// The answering tokens after the final norm, `[B, S, D]`.
    Answers {
        /// Level by level.
        tokens: Tensor<3>,
    },
}

/// Looks at what happens inside; with one, no layer is shortened.
pub type Observer<'a> = Option<&'a mut dyn FnMut(Seen)>;

/// What is before the first level.
enum Opening {
    /// Phrases that were read.
    Read { caches: Vec<Cache>, bias: Tensor<2> },
    /// The words of one that was not, `[1, T, D]`.
    Fresh { words: Tensor<3> },
}

/// One pair on its way through the levels.
struct Walk<'a> {
    view: &'a View,
    /// Length of the phrase.
    words: usize,
    last_level: usize,
    budget: Option<Budget>,
    kept: Vec<usize>,
    candidates: Option<(Candidates, f32)>,
    /// Keys so far, padding not counted.
    keys: usize,
    flops: u64,
    levels: Vec<LevelTrace>,
}

impl ScanFormer {
    /// Reads a phrase; see [`System::read_phrase`](crate::contract::System::read_phrase). Too long a phrase loses what comes before its
    /// last piece; ids beyond the table are read as unknown words.
    pub fn read_phrase_observed(&self, ids: &[u32], mut observer: Observer<'_>) -> Phrase {
        let mut x = self.words(ids);
        let tokens = x.dims()[1];
        let bias = Tensor::zeros([1, tokens], &x.device());
        let mut caches = Vec::with_capacity(self.layers.len());
        show(&mut observer, || Seen::Tokens { level: None, layers: 0, tokens: x.clone() });
        for (index, layer) in self.layers.iter().enumerate() {
            if index + 1 == self.layers.len() && observer.is_none() {
                caches.push(layer.cache_only(x, None));
                break;
            }
            let passed = layer.forward(x, None, bias.clone(), Wanted::All, None);
            x = passed.tokens;
            caches.push(passed.cache);
            show(&mut observer, || Seen::Tokens { level: None, layers: index + 1, tokens: x.clone() });
        }
        Phrase { caches, tokens }
    }

    /// Tokens of a phrase as they enter the first layer, `[1, T, D]`.
    fn words(&self, ids: &[u32]) -> Tensor<3> {
        let ids = self.known(ids);
        let shape = [1, ids.len()];
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, shape), &self.reg_token.val().device());
        let modality = self.modality.weight.val().narrow(0, 0, 1).reshape([self.config.dim]);
        self.text.forward(ids, modality)
    }

    /// Ids that the tables have.
    fn known(&self, ids: &[u32]) -> Vec<i64> {
        const UNKNOWN: usize = 100;
        let ScanFormerConfig { max_text, vocab, .. } = self.config;
        let unknown = if vocab > UNKNOWN { UNKNOWN } else { 0 };
        let id = |&id: &u32| usize::try_from(id).ok().filter(|&id| id < vocab).unwrap_or(unknown) as i64;
        match ids {
            [] => vec![unknown as i64],
            [start @ .., last] if start.len() >= max_text => {
                start[..max_text - 1].iter().chain([last]).map(id).collect()
            }
            ids => ids.iter().map(id).collect(),
        }
    }

    /// Reads a picture; see [`System::read_canvas`](crate::contract::System::read_canvas).
    pub(super) fn view(&self, canvas: Tensor<4>, content: ContentRect) -> View {
        let config = &self.config;
        let pixels: Vec<Tensor<2>> =
            tokens::pyramid(canvas, config).into_iter().map(|level| level.squeeze_dim(0)).collect();
        let valid: Vec<Vec<usize>> = (0..config.levels)
            .map(|level| {
                let valid = geometry::valid(config, level, content);
                (0..valid.len()).filter(|&index| valid[index]).collect()
            })
            .collect();
        let places = self.places();
        let first = self.embed(&pixels[0], &places, &valid[0], 0);
        View { pixels, valid: Arc::new(valid), first, places }
    }

    /// Tokens of some patches of a level whose first place is `offset`: `[1, K, D]`.
    fn embed(&self, pixels: &Tensor<2>, places: &Tensor<2>, patches: &[usize], offset: usize) -> Tensor<3> {
        let device = pixels.device();
        let index = |offset: usize| {
            let indices: Vec<i64> = patches.iter().map(|&patch| (patch + offset) as i64).collect();
            Tensor::<1, Int>::from_data(TensorData::new(indices, [patches.len()]), &device)
        };
        let pixels = pixels.clone().select(0, index(0)).unsqueeze();
        self.patch.forward(pixels) + places.clone().select(0, index(offset)).unsqueeze()
    }

    /// Answers pairs, all levels of all of them together; see [`System::ground_batch`](crate::contract::System::ground_batch).
    ///
    /// # Errors
    /// If the options ask for a level that is not there or too small a budget.
    pub fn ground_observed(
        &self,
        pairs: &[(&Phrase, &View)],
        options: &GroundOptions,
        observer: Observer<'_>,
    ) -> Result<Vec<Grounded>, OptionError> {
        let last_level = self.answering_level(options)?;
        let walks = pairs
            .iter()
            .map(|(phrase, view)| Walk::new(&self.config, phrase.tokens, view, options, last_level))
            .collect::<Result<Vec<_>, _>>()?;
        if walks.is_empty() {
            return Ok(Vec::new());
        }
        let (caches, bias) = join(&pairs.iter().map(|(phrase, _)| *phrase).collect::<Vec<_>>());
        Ok(self.walk(walks, Opening::Read { caches, bias }, options, observer).0)
    }

    /// Reads a phrase together with the first level of a picture; see [`System::ground_new`](crate::contract::System::ground_new).
    pub(super) fn ground_fresh(
        &self,
        ids: &[u32],
        view: &View,
        options: &GroundOptions,
    ) -> Result<(Phrase, Grounded), OptionError> {
        let last_level = self.answering_level(options)?;
        let words = self.words(ids);
        let tokens = words.dims()[1];
        let walk = Walk::new(&self.config, tokens, view, options, last_level)?;
        let (mut grounded, caches) = self.walk(vec![walk], Opening::Fresh { words }, options, None);
        Ok((Phrase { caches, tokens }, grounded.pop().expect("one pair has one answer")))
    }

    /// Takes all pairs through the levels; with the phrase's keys and values if it was read on the way.
    fn walk(
        &self,
        mut walks: Vec<Walk<'_>>,
        opening: Opening,
        options: &GroundOptions,
        mut observer: Observer<'_>,
    ) -> (Vec<Grounded>, Vec<Cache>) {
        let config = &self.config;
        let (pairs, last_level) = (walks.len(), walks[0].last_level);
        let (mut caches, mut bias, mut words) = match opening {
            Opening::Read { caches, bias } => (caches, bias, None),
            Opening::Fresh { words } => {
                let tokens = words.dims()[1];
                (Vec::new(), Tensor::zeros([1, tokens], &words.device()), Some(words))
            }
        };
        let mut phrase = Vec::new();
        let mut answers = Vec::with_capacity(last_level + 1);
        for level in 0..=last_level {
            let chooses = level < last_level && config.is_chosen(level + 1);
            let loads: Vec<LevelLoad> = walks.iter().map(|walk| walk.load(level, options.merge, chooses)).collect();
            let (mut x, own_bias) = self.block(&walks, &loads, level);
            show(&mut observer, || Seen::Bias { level, bias: own_bias.clone() });
            show(&mut observer, || Seen::Tokens { level: Some(level), layers: 0, tokens: x.clone() });
            bias = Tensor::cat(vec![bias, own_bias], 1);
            let rows = x.dims()[1];
            // Words that go before, on the first level of a phrase that was not read yet.
            let before = words.as_ref().map_or(0, |words| words.dims()[1]);
            if let Some(words) = words.take() {
                x = Tensor::cat(vec![words, x], 1);
            }
            let mut maps = Vec::new();
            let mut slots = None;
            let mut first = before;
            for (index, layer) in self.layers.iter().enumerate() {
                let chooses_here = chooses && index + 1 == config.select_layer;
                let shortened = index + 1 == config.layers && !chooses_here && observer.is_none();
                let wanted = if shortened { Wanted::First } else { Wanted::All };
                let Passed { tokens, cache, queries } = if before > 0 {
                    layer.forward_with_phrase(x, before, bias.clone(), wanted)
                } else {
                    layer.forward(x, Some(&caches[index]), bias.clone(), wanted, None)
                };
                if options.attention {
                    maps.push(layer.attention_map(queries.narrow(1, 0, 1), &cache, bias.clone()));
                }
                x = tokens;
                if before > 0 {
                    phrase.push(cache.first(before));
                    caches.push(cache);
                } else {
                    caches[index] = cache;
                }
                if shortened {
                    first = 0;
                }
                show(&mut observer, || Seen::Tokens { level: Some(level), layers: index + 1, tokens: x.clone() });
                if chooses_here && rows > 1 {
                    slots = Some(self.select.forward(x.clone().narrow(1, first + 1, rows - 1)));
                }
            }
            answers.push(x.narrow(1, first, 1));
            // The one place where the host waits: the values decide what runs next.
            let slots: Vec<f32> = slots.map(host).unwrap_or_default();
            let maps: Vec<Vec<f32>> = maps.into_iter().map(host).collect();
            for (row, (walk, load)) in walks.iter_mut().zip(loads).enumerate() {
                let attention = options.attention.then(|| own_part(&maps, row, pairs, rows, load.kept));
                walk.leave(config, level, load, attention);
                if load.chooses {
                    let votes = &slots[row * (rows - 1) * 4..];
                    walk.choose(config, level + 1, votes, options.threshold);
                } else if level < last_level {
                    walk.kept = walk.view.valid[level + 1].clone();
                }
            }
        }
        let answers = self.norm.forward(Tensor::cat(answers, 1));
        show(&mut observer, || Seen::Answers { tokens: answers.clone() });
        let boxes = host(self.r#box.forward(answers));
        let grounded = walks.into_iter().zip(boxes.chunks_exact(4 * (last_level + 1)));
        (grounded.map(|(walk, boxes)| walk.answer(config, boxes)).collect(), phrase)
    }

    fn answering_level(&self, options: &GroundOptions) -> Result<usize, OptionError> {
        let last = self.config.levels - 1;
        match options.level {
            Some(found) if found > last => Err(OptionError::Level { found, last }),
            level => Ok(level.unwrap_or(last)),
        }
    }

    /// A level's tokens `[B, N, D]`, padded at the end, and what they add to the logits of their keys, `[B, N]`.
    fn block(&self, walks: &[Walk<'_>], loads: &[LevelLoad], level: usize) -> (Tensor<3>, Tensor<2>) {
        let (d, device) = (self.config.dim, self.reg_token.val().device());
        let offset: usize = (0..level).map(|level| self.config.grid(level).pow(2)).sum();
        let rows = loads.iter().map(LevelLoad::tokens).max().unwrap_or(1);
        let mut blocks = Vec::with_capacity(walks.len());
        let mut bias = Vec::with_capacity(walks.len() * rows);
        for (walk, load) in walks.iter().zip(loads) {
            let mut parts = vec![self.reg_token.val().reshape([1, 1, d])];
            if level == 0 {
                parts.push(walk.view.first.clone());
            } else if load.kept > 0 {
                parts.push(self.embed(&walk.view.pixels[level], &walk.view.places, &walk.kept, offset));
            }
            let constants = load.constant_tokens();
            if constants > 0 {
                parts.push(self.const_token.val().reshape([1, 1, d]).expand([1, constants, d]));
            }
            let padding = rows - load.tokens();
            if padding > 0 {
                parts.push(Tensor::zeros([1, padding, d], &device));
            }
            blocks.push(Tensor::cat(parts, 1));
            let weight = if load.merge { (load.constants as f32).ln() } else { 0.0 };
            bias.extend(std::iter::repeat_n(0.0, 1 + load.kept));
            bias.extend(std::iter::repeat_n(weight, constants));
            bias.extend(std::iter::repeat_n(f32::NEG_INFINITY, padding));
        }
        (Tensor::cat(blocks, 0), Tensor::from_data(TensorData::new(bias, [walks.len(), rows]), &device))
    }
}

impl<'a> Walk<'a> {
    fn new(
        config: &ScanFormerConfig,
        words: usize,
        view: &'a View,
        options: &GroundOptions,
        last_level: usize,
    ) -> Result<Self, OptionError> {
        let valid = || view.valid[..=last_level].iter().map(Vec::len).collect();
        let budget = options.budget_flops;
        let budget = budget.map(|budget| Budget::new(config, budget, options.merge, words, valid()));
        Ok(Self {
            view,
            words,
            last_level,
            budget: budget.transpose()?,
            kept: view.valid[0].clone(),
            candidates: None,
            keys: words,
            flops: config.language_flops(words),
            levels: Vec::new(),
        })
    }

    fn load(&self, level: usize, merge: bool, chooses: bool) -> LevelLoad {
        let kept = self.kept.len();
        LevelLoad { kept, constants: self.view.valid[level].len() - kept, merge, chooses }
    }

    /// Notes what was done on a level. Its box comes later, with those of all levels.
    fn leave(&mut self, config: &ScanFormerConfig, level: usize, load: LevelLoad, attention: Option<Vec<Vec<f32>>>) {
        let flops = config.level_flops(load, self.keys);
        self.keys = flops.keys;
        self.flops = self.flops.saturating_add(flops.total());
        let valid = self.view.valid[level].clone();
        let (candidates, values, threshold) = match self.candidates.take() {
            Some((candidates, threshold)) => (candidates.indices, candidates.values, Some(threshold)),
            None => (valid.clone(), Vec::new(), None),
        };
        self.levels.push(LevelTrace {
            grid: config.grid(level),
            side: config.grid(level) * config.patch,
            bbox: BoxCxcywh::new(0.0, 0.0, 0.0, 0.0),
            valid,
            candidates,
            values,
            kept: self.kept.clone(),
            constants: load.constants,
            threshold,
            flops: flops.total(),
            attention,
        });
    }

    /// Chooses what the next level reads.
    fn choose(&mut self, config: &ScanFormerConfig, level: usize, slots: &[f32], threshold: f32) {
        let votes = Votes { kept: &self.kept, slots };
        let candidates = Candidates::new(config, level, &self.view.valid[level], &votes);
        let threshold = match &self.budget {
            Some(budget) => candidates.threshold_for(budget.most(config, level, self.flops, self.keys), threshold),
            None => threshold,
        };
        self.kept = candidates.reaching(threshold);
        self.candidates = Some((candidates, threshold));
    }

    fn answer(mut self, config: &ScanFormerConfig, boxes: &[f32]) -> Grounded {
        for (level, bbox) in self.levels.iter_mut().zip(boxes.chunks_exact(4)) {
            let [cx, cy, width, height] = [0, 1, 2, 3].map(|index| f64::from(bbox[index]));
            level.bbox = BoxCxcywh::new(cx, cy, width, height);
        }
        let valid: Vec<usize> = self.view.valid[..self.levels.len()].iter().map(Vec::len).collect();
        let mut boxes = self.levels.iter().rev().map(|level| level.bbox);
        let bbox = boxes.next().expect("the first level always runs");
        let agreement: Vec<f64> = boxes.map(|earlier| bbox.to_xyxy().iou(earlier.to_xyxy())).collect();
        let score = if agreement.is_empty() { 1.0 } else { agreement.iter().sum::<f64>() / agreement.len() as f64 };
        Grounded {
            targets: vec![GroundedTarget { bbox, score: score as f32 }],
            no_target: None,
            mask: None,
            flops: self.flops,
            dense_flops: config.dense_flops(self.words, &valid),
            levels: self.levels,
            trace: None,
        }
    }
}

fn show(observer: &mut Observer<'_>, seen: impl FnOnce() -> Seen) {
    if let Some(observer) = observer {
        observer(seen());
    }
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// Attention of a pair's answering token over the kept patches of the last block of `rows` keys, layer by layer.
fn own_part(maps: &[Vec<f32>], row: usize, pairs: usize, rows: usize, kept: usize) -> Vec<Vec<f32>> {
    let part = |map: &Vec<f32>| {
        let keys = map.len() / pairs;
        let start = row * keys + keys - rows + 1;
        map[start..start + kept].to_vec()
    };
    maps.iter().map(part).collect()
}

/// Caches of several phrases as one batch, and what they add to the logits of their keys.
fn join(phrases: &[&Phrase]) -> (Vec<Cache>, Tensor<2>) {
    let longest = phrases.iter().map(|phrase| phrase.tokens).max().unwrap_or(0);
    let device = phrases[0].caches[0].keys.device();
    let bias: Vec<f32> = phrases
        .iter()
        .flat_map(|phrase| (0..longest).map(|index| if index < phrase.tokens { 0.0 } else { f32::NEG_INFINITY }))
        .collect();
    let bias = Tensor::from_data(TensorData::new(bias, [phrases.len(), longest]), &device);
    let all = |part: &dyn Fn(&Phrase) -> Tensor<4>| {
        Tensor::cat(phrases.iter().map(|phrase| padded(part(phrase), longest, &device)).collect(), 0)
    };
    let caches = (0..phrases[0].caches.len()).map(|layer| Cache {
        keys: all(&|phrase| phrase.caches[layer].keys.clone()),
        values: all(&|phrase| phrase.caches[layer].values.clone()),
    });
    (caches.collect(), bias)
}

/// `[1, T, G, E]` with zeros up to `length`.
fn padded(x: Tensor<4>, length: usize, device: &Device) -> Tensor<4> {
    let [b, t, g, e] = x.dims();
    if t == length { x } else { Tensor::cat(vec![x, Tensor::zeros([b, length - t, g, e], device)], 1) }
}
