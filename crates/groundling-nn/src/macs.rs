//! Counts multiply-accumulates: of shared parts, and of the encoders from their sizes.
//!
//! Counted are products of matrices and convolutions; not norms, softmax, biases, activations and look-ups. Sizes may come from a file, so
//! that sums and products stay at the largest number instead of overflowing.

use crate::bert::BertConfig;
use crate::resnet::{BlockKind, ResNetConfig};
use crate::swin::SwinConfig;

/// Of a linear layer over `n` tokens.
pub fn dense(n: usize, inputs: usize, outputs: usize) -> u64 {
    product(&[n, inputs, outputs])
}

/// Of products of `n` queries with `m` keys and of the weights with the values, `d` wide.
pub fn attention(n: usize, m: usize, d: usize) -> u64 {
    product(&[2, n, m, d])
}

/// Of attention from `n` tokens to `m` others with its four projections, `d` wide.
pub fn projected_attention(n: usize, m: usize, d: usize) -> u64 {
    sum([dense(n, d, 2 * d), dense(m, d, 2 * d), attention(n, m, d)])
}

/// Of layers in which `n` tokens of width `d` attend to one another, with `f` between.
pub fn encoder(layers: usize, n: usize, d: usize, f: usize) -> u64 {
    let layer = sum([projected_attention(n, n, d), dense(n, d, f), dense(n, f, d)]);
    layer.saturating_mul(layers as u64)
}

/// All together.
pub fn sum<const N: usize>(parts: [u64; N]) -> u64 {
    parts.into_iter().fold(0, u64::saturating_add)
}

fn product(factors: &[usize]) -> u64 {
    factors.iter().fold(1, |product: u64, &factor| product.saturating_mul(factor as u64))
}

fn cells([height, width]: [usize; 2]) -> usize {
    height.saturating_mul(width)
}

fn half(size: [usize; 2]) -> [usize; 2] {
    size.map(|side| side.div_ceil(2))
}

impl BertConfig {
    /// Of a phrase of so many tokens, the pooler not counted.
    pub fn macs(&self, tokens: usize) -> u64 {
        encoder(self.layers, tokens, self.width, self.feed_forward)
    }
}

impl ResNetConfig {
    /// Of the four maps of an image of so many rows and columns.
    pub fn macs(&self, image: [usize; 2]) -> u64 {
        let stem = half(image);
        let mut total = dense(cells(stem), 3 * 49, self.width);
        let (mut size, mut inputs) = (half(stem), self.width);
        for (stage, (&blocks, outputs)) in self.layers.iter().zip(self.channels()).enumerate() {
            let width = self.width << stage;
            for block in 0..blocks {
                let before = cells(size);
                if block == 0 && stage > 0 && !(stage == 3 && self.dilate_last) {
                    size = half(size);
                }
                let after = cells(size);
                let parts = match self.block {
                    BlockKind::Basic => [dense(after, 9 * inputs, width), dense(after, 9 * width, outputs), 0],
                    BlockKind::Bottleneck => {
                        [dense(before, inputs, width), dense(after, 9 * width, width), dense(after, width, outputs)]
                    }
                };
                let projects = block == 0 && (stage > 0 || inputs != outputs);
                let shortcut = if projects { dense(after, inputs, outputs) } else { 0 };
                total = sum([total, sum(parts), shortcut]);
                inputs = outputs;
            }
        }
        total
    }
}

impl SwinConfig {
    /// Of the four maps of an image of so many rows and columns; windows are padded, the rest is not.
    pub fn macs(&self, image: [usize; 2]) -> u64 {
        self.macs_to(3, image)
    }

    /// As [`SwinConfig::macs`], of the maps up to this stage, 0 to 3.
    pub fn macs_to(&self, last: usize, image: [usize; 2]) -> u64 {
        let mut size = image.map(|side| side.div_ceil(self.patch));
        let mut total = dense(cells(size), self.in_channels * self.patch * self.patch, self.embed_dim);
        for (stage, (depth, width)) in self.depths.into_iter().zip(self.channels()).take(last + 1).enumerate() {
            if stage > 0 {
                size = half(size);
                total = sum([total, dense(cells(size), 2 * width, width)]); // four neighbours of half the width each
            }
            let padded = cells(size.map(|side| side.next_multiple_of(self.window)));
            let hidden = (width as f64 * self.mlp_ratio) as usize;
            let block = sum([
                dense(padded, width, 4 * width),
                attention(padded, self.window * self.window, width),
                dense(cells(size), width, 2 * hidden),
            ]);
            total = sum([total, block.saturating_mul(depth as u64)]);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_counts() {
        let billions = |macs: u64| (macs as f64 / 1e8).round() / 10.0;
        // He et al. 2016, Table 1, counts without the stride in the 3 x 3 convolution: 3.8 and 7.6 billion; with it 4.1 and 7.8.
        for (config, expected) in [(ResNetConfig::r18(), 1.8), (ResNetConfig::r50(), 4.1), (ResNetConfig::r101(), 7.8)]
        {
            assert_eq!(billions(config.macs([224, 224])), expected);
        }
        // Liu et al. 2021, Table 1: 4.5, 8.7 and 15.4 billion with a classifier, which adds a millionth of a billion.
        for (config, expected) in
            [(SwinConfig::tiny_224(), 4.5), (SwinConfig::small_224(), 8.7), (SwinConfig::base(7), 15.4)]
        {
            assert!((billions(config.macs([224, 224])) - expected).abs() <= 0.1, "{}", config.macs([224, 224]));
        }
        // Twelve layers of 768: 85 million weights, one product each, for every token.
        let per_token = BertConfig::base_uncased().macs(1) as f64;
        assert!((per_token / 85e6 - 1.0).abs() < 0.01, "{per_token}");
    }

    #[test]
    fn what_is_larger_than_a_number_stays_the_largest() {
        assert_eq!(ResNetConfig::r50().macs([usize::MAX, usize::MAX]), u64::MAX);
        assert_eq!(SwinConfig::base(7).macs([usize::MAX / 8, usize::MAX / 8]), u64::MAX);
    }
}
