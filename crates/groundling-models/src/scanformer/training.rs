//! The forward pass of training: a padded batch, everything in one graph.
//!
//! What an earlier block computed stays differentiable in the cache: the loss of the last level trains the phrase's layers too.
//!
//! Training can merge as inference does: patches whose factor is 0 are one token, the mean of them all, so that each gets its share of the
//! gradient, and their number's logarithm is added to its logits. That is what they would have computed one by one, but faster.

use burn::tensor::{Distribution, Int, Tensor, TensorData, activation};

use super::layer::{Cache, Projections, Wanted};
use super::{ScanFormer, geometry, heads, tokens};
use crate::contract::Batch;

/// Random numbers of the choice of a level, one for each of its patches.
#[derive(Debug, Clone)]
pub struct Mixing {
    /// Normal, `[B, N]`; added to the selection values.
    pub noise: Tensor<2>,
    /// Uniform in 0 to 1, `[B, N]`; below a half the hard value is used.
    pub mix: Tensor<2>,
    /// `[B, N]`, added to the selection factors: zeros whose gradient is that of the factors. For tests.
    pub nudge: Option<Tensor<2>>,
}

/// What training chose on a level. Outside the gate all is 0 but the values.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Selection values, `[B, N]`.
    pub values: Tensor<2>,
    /// Whether a patch could be chosen, `[B, N]`, 0 or 1.
    pub gate: Tensor<2>,
    /// Selection factors, `[B, N]`, 0 to 1.
    pub factors: Tensor<2>,
    /// The hard choice, `[B, N]`, 0 or 1.
    pub kept: Tensor<2>,
}

/// A level of the training pass.
#[derive(Debug, Clone)]
pub struct TrainedLevel {
    /// Whether a patch touches the picture, `[B, N]`, 0 or 1.
    pub valid: Tensor<2>,
    /// The same on the host.
    pub valid_host: Vec<bool>,
    /// `None` where everything is read: on the first level, and in the dense model.
    pub choice: Option<Choice>,
    /// The patches as they enter the last layer, `[B, N, D]`.
    pub patches: Tensor<3>,
    /// The patches as they enter the last layer but one, or the last if there is no other, `[B, N, D]`.
    pub middle: Tensor<3>,
    /// What the answering token reads in the last layer.
    pub(super) reading: Reading,
}

/// The last layer's queries of the answering token, and the keys of the level and all before it, patches of the level last.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    /// `[B, 1, G, E]`.
    pub(super) queries: Tensor<4>,
    /// `[B, M, G, E]`.
    pub(super) cache: Cache,
    /// `[B, M]`.
    pub(super) bias: Tensor<2>,
}

/// How a training pass reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// Read everything and choose nothing.
    pub dense: bool,
    /// Choices are always the hard ones; otherwise half of them at random are the soft value.
    pub hard: bool,
    /// Patches that are not read are one token.
    pub merge: bool,
    /// No gradient reaches selection values through what is read: only losses of the values themselves move them.
    pub apart: bool,
}

impl Manner {
    /// Chooses as the paper does, and reads what was not chosen one by one.
    pub const CHOOSING: Self = Self { dense: false, hard: false, merge: false, apart: false };
    /// Reads everything.
    pub const DENSE: Self = Self { dense: true, ..Self::CHOOSING };
}

/// What training computed.
#[derive(Debug, Clone)]
pub struct Trained {
    /// `[B, S, 4]` for S levels.
    pub boxes: Tensor<3>,
    /// Coarsest first.
    pub levels: Vec<TrainedLevel>,
}

impl ScanFormer {
    /// The forward pass of training.
    ///
    /// `mixing` holds the random numbers of the levels after the first; what is missing is drawn from the generator of the device.
    ///
    /// # Panics
    /// If sizes disagree, or phrases are longer than the table of positions.
    pub fn forward_training(&self, batch: &Batch, mixing: &[Mixing], manner: Manner) -> Trained {
        let Manner { dense, merge, .. } = manner;
        let config = &self.config;
        let device = self.reg_token.val().device();
        let (b, d) = (batch.len(), config.dim);
        let projections: Vec<_> = self.layers.iter().map(|layer| layer.projections()).collect();

        let [_, l] = batch.ids.dims();
        assert_eq!(batch.lengths.len(), b, "a length for each phrase");
        let padding = batch.lengths.iter().flat_map(|&length| (0..l).map(move |index| index < length)).collect();
        let mut bias = key_bias(padding, [b, l], &device);
        let mut caches = self.language(batch.ids.clone(), &bias, &projections);

        let pyramid = tokens::pyramid(batch.canvases.clone(), config);
        let places = self.places();
        let reg = || self.reg_token.val().reshape([1, 1, d]).expand([b, 1, d]);
        let (mut answers, mut levels) = (Vec::new(), Vec::<TrainedLevel>::new());
        let mut first_place = 0;
        let mut slots: Option<Tensor<2>> = None;
        for (level, pixels) in pyramid.into_iter().enumerate() {
            let n = pixels.dims()[1];
            let valid: Vec<bool> =
                batch.contents.iter().flat_map(|&content| geometry::valid(config, level, content)).collect();
            let valid_float = valid.iter().map(|&valid| f32::from(u8::from(valid))).collect();
            let valid_mask = Tensor::<2>::from_data(TensorData::new::<f32, _>(valid_float, [b, n]), &device);
            let choice = match slots.take() {
                Some(values) if !dense => {
                    let above = levels.last().and_then(|above| above.choice.as_ref());
                    let parents = above.map(|above| heads::inherit(above.kept.clone(), config.grid(level - 1)));
                    let gate = match parents {
                        Some(parents) if config.nested => valid_mask.clone() * parents,
                        _ => valid_mask.clone(),
                    };
                    Some(choose(values, gate, mixing.get(level - 1), manner))
                }
                _ => None,
            };
            let mut patches = self.patch.forward(pixels) + places.clone().narrow(0, first_place, n).unsqueeze();
            first_place += n;
            patches = self.dropout.forward(patches);
            if let Some(choice) = &choice {
                let constant = self.const_token.val().reshape([1, 1, d]);
                let factors = choice.factors.clone().reshape([b, n, 1]);
                patches = (patches - constant.clone()) * factors + constant;
            }
            let with_reg =
                (0..b).flat_map(|row| [true].into_iter().chain(valid[row * n..(row + 1) * n].iter().copied()));
            let whole = Tensor::cat(vec![bias.clone(), key_bias(with_reg.collect(), [b, 1 + n], &device)], 1);
            let merged = choice.as_ref().filter(|_| merge).and_then(|choice| Merged::new(choice, &valid));
            bias = match &merged {
                Some(merged) => Tensor::cat(vec![bias, merged.bias(&device)], 1),
                None => whole.clone(),
            };
            let spread = |tokens: Tensor<3>| match &merged {
                Some(merged) => merged.spread(tokens),
                None => tokens,
            };
            if let Some(merged) = &merged {
                patches = merged.merge(patches);
            }
            let n = patches.dims()[1];

            let mut x = Tensor::cat(vec![reg(), patches], 1);
            let (mut middle, mut entering_last, mut reading) = (None, None, None);
            let chooses = config.is_chosen(level + 1) && !dense;
            for (index, layer) in self.layers.iter().enumerate() {
                let last = index + 1 == config.layers;
                if index + 2 == config.layers.max(2) {
                    middle = Some(spread(x.clone().narrow(1, 1, n)));
                }
                if last {
                    entering_last = Some(spread(x.clone().narrow(1, 1, n)));
                }
                let wanted = if last && !(chooses && config.select_layer == config.layers) {
                    Wanted::First
                } else {
                    Wanted::All
                };
                let passed = layer.forward(x, Some(&caches[index]), bias.clone(), wanted, projections[index].as_ref());
                (x, caches[index]) = (passed.tokens, passed.cache);
                if last {
                    let mut cache = caches[index].clone();
                    if let Some(merged) = &merged {
                        cache.keys = merged.spread_last(cache.keys);
                    }
                    reading = Some(Reading { queries: passed.queries.narrow(1, 0, 1), cache, bias: whole.clone() });
                }
                if chooses && index + 1 == config.select_layer {
                    let values = spread(self.select.forward(x.clone().narrow(1, 1, n)));
                    slots = Some(heads::unfold(values, config.grid(level)));
                }
            }
            answers.push(x.narrow(1, 0, 1));
            let patches = entering_last.expect("there is at least one layer");
            let reading = reading.expect("there is at least one layer");
            let middle = middle.expect("there is at least one layer");
            levels.push(TrainedLevel { valid: valid_mask, valid_host: valid, choice, patches, middle, reading });
        }
        let boxes = self.r#box.forward(self.norm.forward(Tensor::cat(answers, 1)));
        Trained { boxes, levels }
    }

    /// Runs the phrases through all layers: keys and values of each.
    fn language(&self, ids: Tensor<2, Int>, bias: &Tensor<2>, projections: &[Option<Projections>]) -> Vec<Cache> {
        let d = self.config.dim;
        let mut x = self.text.forward(ids, self.modality.weight.val().narrow(0, 0, 1).reshape([d]));
        let mut caches = Vec::with_capacity(self.layers.len());
        for (index, layer) in self.layers.iter().enumerate() {
            let projections = projections[index].as_ref();
            if index + 1 == self.layers.len() {
                caches.push(layer.cache_only(x, projections));
                break;
            }
            let passed = layer.forward(x, None, bias.clone(), Wanted::All, projections);
            x = passed.tokens;
            caches.push(passed.cache);
        }
        caches
    }
}

/// 0 where a key is seen, minus infinity elsewhere.
fn key_bias(seen: Vec<bool>, shape: [usize; 2], device: &burn::tensor::Device) -> Tensor<2> {
    let values: Vec<f32> = seen.into_iter().map(|seen| if seen { 0.0 } else { f32::NEG_INFINITY }).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Which patches of a level are tokens of their own, and which are one.
struct Merged {
    /// Pairs, patches of a pair, and tokens that the pair with most has of its own.
    sizes: [usize; 3],
    /// Of each pair, the patches that are tokens of their own.
    own: Vec<Vec<usize>>,
    /// Of each pair, the patches that are one.
    alike: Vec<Vec<usize>>,
}

impl Merged {
    /// `None` where there would be as many tokens as patches.
    fn new(choice: &Choice, valid: &[bool]) -> Option<Self> {
        let [b, n] = choice.factors.dims();
        let factors: Vec<f32> = choice.factors.clone().without_autodiff().into_data().iter::<f32>().collect();
        let split = |row: usize| -> (Vec<usize>, Vec<usize>) {
            (0..n).filter(|index| valid[row * n + index]).partition(|index| factors[row * n + index] != 0.0)
        };
        let (own, alike): (Vec<_>, Vec<_>) = (0..b).map(split).unzip();
        let most = own.iter().map(Vec::len).max().unwrap_or(0);
        (most + 1 < n).then_some(Self { sizes: [b, n, most], own, alike })
    }

    /// For the answering token, the tokens of their own and the one that stands for the others.
    fn bias(&self, device: &burn::tensor::Device) -> Tensor<2> {
        let [b, _, most] = self.sizes;
        let row = |(own, alike): (&Vec<usize>, &Vec<usize>)| {
            let seen = (0..=most).map(|index| if index <= own.len() { 0.0 } else { f32::NEG_INFINITY });
            // The logarithm of none is minus infinity.
            let many = (alike.len() as f32).ln();
            seen.chain([many]).collect::<Vec<_>>()
        };
        let values: Vec<f32> = self.own.iter().zip(&self.alike).flat_map(row).collect();
        Tensor::from_data(TensorData::new(values, [b, most + 2]), device)
    }

    /// `[B, N, D]` to `[B, K + 1, D]`.
    fn merge(&self, patches: Tensor<3>) -> Tensor<3> {
        let [b, n, most] = self.sizes;
        let device = patches.device();
        let mut weights = vec![0.0f32; b * n];
        for (row, alike) in self.alike.iter().enumerate() {
            alike.iter().for_each(|index| weights[row * n + index] = 1.0 / alike.len() as f32);
        }
        let weights = Tensor::<3>::from_data(TensorData::new(weights, [b, 1, n]), &device);
        let one = weights.matmul(patches.clone());
        if most == 0 {
            return one;
        }
        let padded = |(row, own): (usize, &Vec<usize>)| {
            let own = own.clone();
            (0..most).map(move |index| (row * n + own.get(index).copied().unwrap_or(0)) as i64)
        };
        let rows = self.own.iter().enumerate().flat_map(padded).collect();
        Tensor::cat(vec![taken(patches, rows, most), one], 1)
    }

    /// `[B, K + 1, D]` to `[B, N, D]`: every patch gets what its token has become.
    fn spread(&self, tokens: Tensor<3>) -> Tensor<3> {
        let [b, n, most] = self.sizes;
        let mut rows: Vec<i64> = (0..b * n).map(|index| (index / n * (most + 1) + most) as i64).collect();
        for (row, own) in self.own.iter().enumerate() {
            own.iter().enumerate().for_each(|(at, index)| rows[row * n + index] = (row * (most + 1) + at) as i64);
        }
        taken(tokens, rows, n)
    }

    /// The same for the last tokens of `[B, M, G, E]`.
    fn spread_last(&self, keys: Tensor<4>) -> Tensor<4> {
        let ([b, m, g, e], [_, n, most]) = (keys.dims(), self.sizes);
        let before = m - most - 1;
        let last = keys.clone().narrow(1, before, most + 1).reshape([b, most + 1, g * e]);
        Tensor::cat(vec![keys.narrow(1, 0, before), self.spread(last).reshape([b, n, g, e])], 1)
    }
}

/// Rows of all pairs' tokens, so many for each pair.
fn taken(tokens: Tensor<3>, rows: Vec<i64>, each: usize) -> Tensor<3> {
    let ([b, _, d], count, device) = (tokens.dims(), rows.len(), tokens.device());
    let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &device);
    tokens.flatten::<2>(0, 1).select(0, rows).reshape([b, each, d])
}

/// Improved semantic hashing (Kaiser and Bengio 2018, arXiv:1801.09797): with noise added, either the saturating sigmoid or the hard
/// value goes forward, and the gradient is always that of the sigmoid. Where choices are always hard it is the hard one.
fn choose(values: Tensor<2>, gate: Tensor<2>, mixing: Option<&Mixing>, manner: Manner) -> Choice {
    let (shape, device) = (values.dims(), values.device());
    let mixing = mixing.cloned().unwrap_or_else(|| Mixing {
        noise: Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device),
        mix: Tensor::random(shape, Distribution::Uniform(0.0, 1.0), &device),
        nudge: None,
    });
    let chosen = if manner.apart { values.clone().detach() } else { values.clone() };
    let noisy = chosen + mixing.noise;
    let soft = activation::sigmoid(noisy.clone()).mul_scalar(1.2).sub_scalar(0.1).clamp(0.0, 1.0);
    let hard = noisy.detach().greater_equal_elem(0.0).float();
    // The difference is exactly 0, so that the hard value stays exactly 0 or 1.
    let straight_through = soft.clone() - soft.clone().detach() + hard.clone();
    let mut factors =
        if manner.hard { straight_through } else { soft.mask_where(mixing.mix.lower_elem(0.5), straight_through) };
    if let Some(nudge) = mixing.nudge {
        factors = factors + nudge;
    }
    Choice { values, factors: factors * gate.clone(), kept: hard * gate.clone(), gate }
}
