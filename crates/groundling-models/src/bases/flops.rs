//! Counts operations of shared parts: a multiply-add is two. Counted are products of matrices and convolutions; not norms, softmax,
//! biases, activations and look-ups.

use groundling_nn::bert::BertConfig;
use groundling_nn::resnet::{BlockKind, ResNetConfig};

/// Of a linear layer over `n` tokens.
pub(crate) fn dense(n: usize, inputs: usize, outputs: usize) -> u64 {
    product(&[2, n, inputs, outputs])
}

/// Of products of `n` queries with `m` keys and of the weights with the values, `d` wide.
pub(crate) fn attention(n: usize, m: usize, d: usize) -> u64 {
    product(&[4, n, m, d])
}

/// Of attention from `n` tokens to `m` others with its four projections, `d` wide.
pub(crate) fn projected_attention(n: usize, m: usize, d: usize) -> u64 {
    sum([dense(n, d, 2 * d), dense(m, d, 2 * d), attention(n, m, d)])
}

/// Of layers in which `n` tokens of width `d` attend to one another, with `f` between.
pub(crate) fn encoder(layers: usize, n: usize, d: usize, f: usize) -> u64 {
    let layer = sum([projected_attention(n, n, d), dense(n, d, f), dense(n, f, d)]);
    layer.saturating_mul(layers as u64)
}

/// Of a phrase of `n` tokens.
pub(crate) fn bert(config: &BertConfig, n: usize) -> u64 {
    encoder(config.layers, n, config.width, config.feed_forward)
}

/// Of the box head.
pub(crate) fn box_head(d: usize) -> u64 {
    sum([dense(2, d, d), dense(1, d, 4)])
}

/// Of a backbone on a square picture.
pub(crate) fn resnet(config: &ResNetConfig, side: usize) -> u64 {
    let conv = |cells: usize, kernel: usize, inputs: usize, outputs: usize| {
        product(&[2, cells, cells, kernel, kernel, inputs, outputs])
    };
    let mut map = side.div_ceil(2);
    let mut total = conv(map, 7, 3, config.width);
    map = map.div_ceil(2);
    let mut inputs = config.width;
    for (stage, &outputs) in config.channels().iter().enumerate() {
        let width = config.width << stage;
        for block in 0..config.layers[stage] {
            let before = map;
            let halves = block == 0 && stage > 0 && !(stage == 3 && config.dilate_last);
            if halves {
                map = map.div_ceil(2);
            }
            let parts = match config.block {
                BlockKind::Basic => [conv(map, 3, inputs, width), conv(map, 3, width, outputs), 0],
                BlockKind::Bottleneck => {
                    [conv(before, 1, inputs, width), conv(map, 3, width, width), conv(map, 1, width, outputs)]
                }
            };
            let shortcut = if halves || inputs != outputs { conv(map, 1, inputs, outputs) } else { 0 };
            total = sum([total, parts[0], parts[1], parts[2], shortcut]);
            inputs = outputs;
        }
    }
    total
}

pub(crate) fn sum<const N: usize>(parts: [u64; N]) -> u64 {
    parts.into_iter().fold(0, u64::saturating_add)
}

fn product(factors: &[usize]) -> u64 {
    factors.iter().fold(1, |product: u64, &factor| product.saturating_mul(factor as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_counts() {
        // He et al. 2016, Table 1, counts multiply-adds without the stride in the 3 x 3 convolution: 3.8 and 7.6 billion; with it 4.1 and 7.8.
        let billions = |config: ResNetConfig| (resnet(&config, 224) as f64 / 2e8).round() / 10.0;
        assert_eq!(billions(ResNetConfig::r18()), 1.8);
        assert_eq!(billions(ResNetConfig::r50()), 4.1);
        assert_eq!(billions(ResNetConfig::r101()), 7.8);
        // Twelve layers of 768: 85 million weights, two operations each, for every token.
        let per_token = bert(&BertConfig::base_uncased(), 1) as f64;
        assert!((per_token / 2.0 / 85e6 - 1.0).abs() < 0.01, "{per_token}");
    }
}
