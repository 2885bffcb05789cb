//! The model a second time, as plain as can be: f64, one pass over all blocks under a block-causal mask, no cache. It can make the
//! mistakes that are easily made, so that tests can show that they would see them.

use std::collections::BTreeMap;

use groundling_models::contract::Grounded;
use groundling_models::scanformer::ScanFormerConfig;
use groundling_nn::checkpoint::Checkpoint;
use groundling_testkit::Array;

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The logarithm of the number of constants is divided by the root of the head's width with everything else.
    BiasBeforeScale,
    /// It is added in the constants' own block only.
    BiasLostInCache,
    /// Constants get the place and type of the patch they stand for.
    PlaceAfterReplacement,
}

/// How to run it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) merge: bool,
    /// Turns the order of the kept patches around.
    pub(crate) backwards: bool,
    /// Every token sees every other one, as in ViLT.
    pub(crate) bidirectional: bool,
    pub(crate) fault: Option<Fault>,
}

impl Plan {
    pub(crate) const MERGED: Self = Self { merge: true, backwards: false, bidirectional: false, fault: None };
    pub(crate) const UNMERGED: Self = Self { merge: false, ..Self::MERGED };
}

pub(crate) struct Reference<'a> {
    config: &'a ScanFormerConfig,
    weights: BTreeMap<String, Array>,
}

/// What comes out.
pub(crate) struct Output {
    /// Level by level, four each.
    pub(crate) boxes: Vec<f64>,
    /// The phrase's tokens after the last layer.
    pub(crate) language: Vec<Vec<f64>>,
    /// The answering tokens after the last layer, level by level.
    pub(crate) answers: Vec<Vec<f64>>,
}

type Rows = Vec<Vec<f64>>;

impl<'a> Reference<'a> {
    pub(crate) fn new(config: &'a ScanFormerConfig, weights: &Checkpoint) -> Self {
        let array = |(name, tensor): (&String, &groundling_nn::checkpoint::StoredTensor)| {
            (name.clone(), Array::from_values(tensor.shape(), &tensor.read_f32().unwrap()))
        };
        Self { config, weights: weights.tensors().iter().map(array).collect() }
    }

    /// Runs what `grounded` says was read.
    pub(crate) fn run(&self, ids: &[u32], image: &Array, grounded: &Grounded, plan: Plan) -> Output {
        let config = self.config;
        let modality = self.rows("modality.weight");
        let text = ids.iter().enumerate().map(|(index, &id)| {
            let sum = add(
                &add(&self.rows("text.word.weight")[id as usize], &self.rows("text.segment.weight")[0]),
                &self.rows("text.position.weight")[index],
            );
            add(&self.norm("text.norm", &sum, config.text_ln_eps), &modality[0])
        });
        let mut tokens: Rows = text.collect();
        let (mut block, mut bias) = (vec![0; tokens.len()], vec![0.0; tokens.len()]);
        let mut answers = Vec::new();
        for (level, trace) in grounded.levels.iter().enumerate() {
            answers.push(tokens.len());
            let mut rows = vec![self.vector("reg_token")];
            let mut own_bias = vec![0.0];
            let mut kept = trace.kept.clone();
            if plan.backwards {
                kept.reverse();
            }
            for patch in kept {
                rows.push(add(&self.patch(image, level, patch), &self.place(level, patch)));
                own_bias.push(0.0);
            }
            let dropped: Vec<usize> = trace.valid.iter().copied().filter(|patch| !trace.kept.contains(patch)).collect();
            if plan.merge && !dropped.is_empty() {
                rows.push(self.vector("const_token"));
                own_bias.push((dropped.len() as f64).ln());
            }
            if !plan.merge {
                for patch in dropped {
                    let constant = self.vector("const_token");
                    let placed = plan.fault == Some(Fault::PlaceAfterReplacement);
                    rows.push(if placed { add(&constant, &self.place(level, patch)) } else { constant });
                    own_bias.push(0.0);
                }
            }
            block.extend(vec![level + 1; rows.len()]);
            bias.extend(own_bias);
            tokens.extend(rows);
        }
        if plan.bidirectional {
            block.fill(0);
        }
        for layer in 0..config.layers {
            tokens = self.layer(layer, &tokens, &block, &bias, plan.fault);
        }
        let answers: Rows = answers.into_iter().map(|row| tokens[row].clone()).collect();
        let boxes = answers.iter().flat_map(|answer| self.bbox(answer)).collect();
        Output { boxes, language: tokens[..ids.len()].to_vec(), answers }
    }

    /// ViLT's last hidden state from its own checkpoint in its authors' layout: the phrase's tokens, the class token, the patches in raster
    /// order, all seeing each other. The picture has the side of the table of positions.
    pub(crate) fn vilt(&self, ids: &[u32], image: &Array) -> Rows {
        let config = self.config;
        let types = self.rows("token_type_embeddings.weight");
        let positions = self.rows("transformer.pos_embed");
        let part = |name: &str| format!("text_embeddings.{name}");
        let mut tokens: Rows = Vec::new();
        for (index, &id) in ids.iter().enumerate() {
            let word = &self.rows(&part("word_embeddings.weight"))[id as usize];
            let sum = add(word, &self.rows(&part("position_embeddings.weight"))[index]);
            let sum = add(&sum, &self.rows(&part("token_type_embeddings.weight"))[0]);
            tokens.push(add(&self.norm(&part("LayerNorm"), &sum, config.text_ln_eps), &types[0]));
        }
        tokens.push(add(&add(&self.vector("transformer.cls_token"), &positions[0]), &types[1]));
        let grid = config.pos_grid;
        for patch in 0..grid * grid {
            let pixels = self.pixels(image, grid * config.patch, 1, (patch / grid, patch % grid));
            let projected = self.linear("transformer.patch_embed.proj", &pixels);
            tokens.push(add(&add(&projected, &positions[1 + patch]), &types[1]));
        }
        let (block, bias) = (vec![0; tokens.len()], vec![0.0; tokens.len()]);
        for layer in 0..config.layers {
            tokens = self.named_layer(&format!("transformer.blocks.{layer}"), &tokens, &block, &bias, None);
        }
        tokens.iter().map(|token| self.norm("transformer.norm", token, config.ln_eps)).collect()
    }

    /// A token after the final norm.
    pub(crate) fn normed(&self, token: &[f64]) -> Vec<f64> {
        self.norm("norm", token, self.config.ln_eps)
    }

    fn layer(&self, index: usize, tokens: &Rows, block: &[usize], bias: &[f64], fault: Option<Fault>) -> Rows {
        self.named_layer(&format!("layers.{index}"), tokens, block, bias, fault)
    }

    fn named_layer(&self, prefix: &str, tokens: &Rows, block: &[usize], bias: &[f64], fault: Option<Fault>) -> Rows {
        let (d, heads, eps) = (self.config.dim, self.config.heads, self.config.ln_eps);
        let width = d / heads;
        let name = |part: &str| format!("{prefix}.{part}");
        let qkv: Rows =
            tokens.iter().map(|token| self.linear(&name("attn.qkv"), &self.norm(&name("norm1"), token, eps))).collect();
        let root = (width as f64).sqrt();
        let attend = |query: usize| -> Vec<f64> {
            (0..heads)
                .flat_map(|head| {
                    let part =
                        |row: usize, which: usize| &qkv[row][which * d + head * width..which * d + (head + 1) * width];
                    let seen: Vec<usize> = (0..tokens.len()).filter(|&key| block[key] <= block[query]).collect();
                    let logits: Vec<f64> = seen
                        .iter()
                        .map(|&key| {
                            let product = dot(part(query, 0), part(key, 1));
                            match fault {
                                Some(Fault::BiasBeforeScale) => (product + bias[key]) / root,
                                Some(Fault::BiasLostInCache) if block[key] < block[query] => product / root,
                                _ => product / root + bias[key],
                            }
                        })
                        .collect();
                    let most = logits.iter().copied().fold(f64::MIN, f64::max);
                    let weights: Vec<f64> = logits.iter().map(|logit| (logit - most).exp()).collect();
                    let sum: f64 = weights.iter().sum();
                    let mut context = vec![0.0; width];
                    for (&key, weight) in seen.iter().zip(&weights) {
                        for (value, add) in context.iter_mut().zip(part(key, 2)) {
                            *value += weight / sum * add;
                        }
                    }
                    context
                })
                .collect()
        };
        (0..tokens.len())
            .map(|row| {
                let x = add(&tokens[row], &self.linear(&name("attn.proj"), &attend(row)));
                let hidden = self.linear(&name("mlp.fc1"), &self.norm(&name("norm2"), &x, eps));
                let hidden: Vec<f64> = hidden.into_iter().map(gelu).collect();
                add(&x, &self.linear(&name("mlp.fc2"), &hidden))
            })
            .collect()
    }

    fn bbox(&self, answer: &[f64]) -> Vec<f64> {
        let relu = |values: Vec<f64>| -> Vec<f64> { values.into_iter().map(|value| value.max(0.0)).collect() };
        let hidden = relu(self.linear("box.fc1", &self.norm("norm", answer, self.config.ln_eps)));
        let hidden = relu(self.linear("box.fc2", &hidden));
        self.linear("box.fc3", &hidden).into_iter().map(|value| 1.0 / (1.0 + (-value).exp())).collect()
    }

    /// The projection of a patch, its pixels being means of the canvas.
    fn patch(&self, image: &Array, level: usize, patch: usize) -> Vec<f64> {
        let (config, grid) = (self.config, self.config.grid(level));
        let pixels = self.pixels(image, config.image_size, config.shrink(level), (patch / grid, patch % grid));
        self.linear("patch.proj", &pixels)
    }

    /// The pixels of a patch of a square image, each a mean over `shrink` by `shrink`.
    fn pixels(&self, image: &Array, size: usize, shrink: usize, (row, column): (usize, usize)) -> Vec<f64> {
        let side = self.config.patch;
        let (top, left) = (row * side, column * side);
        let mut pixels = Vec::new();
        for channel in 0..3 {
            for row in 0..side {
                for column in 0..side {
                    let mut sum = 0.0;
                    for y in 0..shrink {
                        for x in 0..shrink {
                            let (y, x) = ((top + row) * shrink + y, (left + column) * shrink + x);
                            sum += image.data[(channel * size + y) * size + x];
                        }
                    }
                    pixels.push(sum / (shrink * shrink) as f64);
                }
            }
        }
        pixels
    }

    /// Place and type of a patch.
    fn place(&self, level: usize, patch: usize) -> Vec<f64> {
        let (grid, table) = (self.config.grid(level), self.config.pos_grid);
        let [x, y] = [patch % grid, patch / grid].map(|index| (index as f64 + 0.5) / grid as f64);
        let rows = self.rows("pse.grid");
        let split = |position: f64| {
            let u = (position * table as f64 - 0.5).clamp(0.0, (table - 1) as f64);
            let low = (u.floor() as usize).min(table - 2);
            (low, u - low as f64)
        };
        let ((column, right), (row, down)) = (split(x), split(y));
        let along = |row: usize| mix(&rows[row * table + column], &rows[row * table + column + 1], right);
        let read = mix(&along(row), &along(row + 1), down);
        let scale = 1.0 / self.config.shrink(level) as f64;
        let hidden: Vec<f64> = self.linear("pse.fc1", &[x, y, scale]).into_iter().map(gelu).collect();
        add(&add(&read, &self.linear("pse.fc2", &hidden)), &self.rows("modality.weight")[1])
    }

    fn vector(&self, name: &str) -> Vec<f64> {
        self.weights[name].data.clone()
    }

    /// The rows of a matrix: all axes but the last together.
    fn rows(&self, name: &str) -> Rows {
        let array = &self.weights[name];
        array.data.chunks(*array.shape.last().unwrap()).map(<[f64]>::to_vec).collect()
    }

    fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let (weight, bias) = (&self.weights[&format!("{name}.weight")], &self.weights[&format!("{name}.bias")]);
        weight.data.chunks(x.len()).zip(&bias.data).map(|(row, bias)| dot(row, x) + bias).collect()
    }

    fn norm(&self, name: &str, x: &[f64], epsilon: f64) -> Vec<f64> {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let variance = x.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / x.len() as f64;
        let (gain, shift) = (&self.weights[&format!("{name}.weight")], &self.weights[&format!("{name}.bias")]);
        let scaled = x.iter().map(|value| (value - mean) / (variance + epsilon).sqrt());
        scaled.zip(gain.data.iter().zip(&shift.data)).map(|(value, (gain, shift))| value * gain + shift).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn mix(a: &[f64], b: &[f64], weight: f64) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a * (1.0 - weight) + b * weight).collect()
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))
}

/// Abramowitz and Stegun 7.1.5: a series that is exact to rounding where activations are.
fn erf(x: f64) -> f64 {
    if x.abs() > 5.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.abs() > 1e-17 {
        n += 1.0;
        term *= -x * x / n;
        sum += term / (2.0 * n + 1.0);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}
