//! The two decoders: maps and phrase to a mask, and a phrase with a hole and a map to the whole phrase.
//!
//! PARITY: tokens that are padding are memory and queries like any other here, as released weights expect.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use groundling_nn::layers::{Convolution, Dense, PrepareInference};
use groundling_nn::norms::BatchNorm2d;
use groundling_nn::resize::{Meet, bilinear};
use groundling_nn::transformer::{DecoderLayer, Tokens, TransformerConfig};

use super::norms::{convolution, dense};
use super::observe::Observer;

/// What decoders make of the features of an image and a phrase.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// Of background and target at the size of the finest map, `[B, 2, H / 4, W / 4]`.
    pub low_logits: Tensor<4>,
    /// After the first layer, and as the second reads it: `[B, D, H / 16, W / 16]` and `[B, D, H / 8, W / 8]`. For auxiliary losses.
    pub maps: [Tensor<4>; 2],
    /// After the second layer, `[B, D, H / 8, W / 8]`.
    pub attended: Tensor<4>,
    /// What only training reads; `None` where no phrase was to be recovered.
    pub learned: Option<Learned>,
}

/// What the auxiliary losses read.
#[derive(Debug, Clone)]
pub struct Learned {
    /// The tokens of the whole phrase, made from the erased one and the map, `[B, L, D]`.
    pub recovered: Tensor<3>,
    /// The map at three resolutions as one vector, `[B, D]`.
    pub pooled: Tensor<2>,
}

/// Text-to-image decoder, with the image-to-text decoder beside it.
#[derive(Module, Debug)]
pub struct Decoder {
    fuse4: MapPair,
    attend4: DecoderLayer,
    fuse3: MapPair,
    attend3: DecoderLayer,
    fuse2: MapPair,
    head: Convolution,
    recovery: Recovery,
    pool3: Dense,
    pool2: Dense,
}

impl Decoder {
    /// For maps of these channels, finest first, with random weights.
    ///
    /// # Panics
    /// If the heads do not divide the width.
    pub fn new(channels: [usize; 4], config: &TransformerConfig, device: &Device) -> Self {
        let [c1, c2, c3, c4] = channels;
        let d = config.width;
        Self {
            fuse4: MapPair::new(c4 + c3, d, device),
            attend4: config.decoder_layer(device),
            fuse3: MapPair::new(d + c2, d, device),
            attend3: config.decoder_layer(device),
            fuse2: MapPair::new(d + c1, d, device),
            head: convolution(d, 2, 1, true, device),
            recovery: Recovery::new(config, device),
            pool3: dense(2 * d, d, device),
            pool2: dense(2 * d, d, device),
        }
    }

    /// Decodes; what only training reads is made where there is an erased phrase, and masks do not depend on it.
    ///
    /// # Shapes
    /// - `features` `[B, C, H, W]` of the four stages, finest first
    /// - `language` `[B, L, D]` as the last stage left it; `erased` `[B, L, D]`, embeddings of the phrase with a hole
    ///
    /// # Panics
    /// If shapes disagree.
    pub fn forward(
        &self,
        features: [Tensor<4>; 4],
        language: Tensor<3>,
        erased: Option<Tensor<3>>,
        observer: &mut Observer<'_>,
    ) -> Decoded {
        let [c1, c2, c3, c4] = features;
        let y = self.fuse4.forward(c4, c3);
        observer.see("y4", &y);
        let pooled4 = erased.is_some().then(|| mean(&y));
        let y = attend(&self.attend4, y, language.clone());
        observer.see("psi1", &y);
        let coarse = y.clone();
        let y = self.fuse3.forward(y, c2);
        observer.see("y3", &y);
        let maps = [coarse, y.clone()];
        let aside = erased.zip(pooled4).map(|(erased, pooled4)| {
            let pooled = self.pool3.forward(Tensor::cat(vec![pooled4, mean(&y)], 1));
            observer.see("pooled3", &pooled);
            (self.recovery.forward(erased, y.clone()), pooled)
        });
        let y = attend(&self.attend3, y, language);
        observer.see("psi2", &y);
        let attended = y.clone();
        let y = self.fuse2.forward(y, c1);
        observer.see("y2", &y);
        let learned = aside.map(|(recovered, pooled)| {
            let pooled = self.pool2.forward(Tensor::cat(vec![pooled, mean(&y)], 1));
            Learned { recovered, pooled }
        });
        Decoded { low_logits: self.head.forward(y), maps, attended, learned }
    }

    /// Whether training, too, uses running statistics.
    pub(super) fn fix_norms(&mut self, fixed: bool) {
        for pair in [&mut self.fuse4, &mut self.fuse3, &mut self.fuse2] {
            pair.norm1.fix(fixed);
            pair.norm2.fix(fixed);
        }
        self.recovery.norm.fix(fixed);
    }
}

/// Mean over the pixels, `[B, C]`.
fn mean(x: &Tensor<4>) -> Tensor<2> {
    let [b, c, h, w] = x.dims();
    x.clone().reshape([b, c, h * w]).mean_dim(2).squeeze_dim(2)
}

/// A map as tokens, row by row.
pub(super) fn flat(x: Tensor<4>) -> Tensor<3> {
    let [b, c, h, w] = x.dims();
    x.reshape([b, c, h * w]).swap_dims(1, 2)
}

/// Every pixel looks at every other and at the phrase: a transformer layer without positions and without padding.
///
/// # Shapes
/// - `x` `[B, D, H, W]`, returned with the same shape; `language` `[B, L, D]`
///
/// # Panics
/// If shapes disagree.
pub fn attend(layer: &DecoderLayer, x: Tensor<4>, language: Tensor<3>) -> Tensor<4> {
    let [b, d, h, w] = x.dims();
    let made = layer.forward(Tokens::new(flat(x)), Tokens::new(language));
    made.swap_dims(1, 2).reshape([b, d, h, w])
}

/// A coarse map and a finer one become one of the finer's size.
#[derive(Module, Debug)]
struct MapPair {
    conv1: Convolution,
    norm1: BatchNorm2d,
    conv2: Convolution,
    norm2: BatchNorm2d,
}

impl MapPair {
    fn new(inputs: usize, width: usize, device: &Device) -> Self {
        Self {
            conv1: convolution(inputs, width, 3, false, device),
            norm1: BatchNorm2d::new(width, device),
            conv2: convolution(width, width, 3, false, device),
            norm2: BatchNorm2d::new(width, device),
        }
    }

    fn forward(&self, coarse: Tensor<4>, fine: Tensor<4>) -> Tensor<4> {
        let ([_, _, h, w], [_, _, height, width]) = (coarse.dims(), fine.dims());
        let coarse =
            if h < height || w < width { bilinear(coarse, [height, width], Meet::CornerPixels) } else { coarse };
        let x = self.norm1.after(&self.conv1, Tensor::cat(vec![coarse, fine], 1));
        self.norm2.after(&self.conv2, x)
    }
}

/// Context clue recovery (Sec. 3.4 of the paper): what was erased from the phrase is found in the map.
#[derive(Module, Debug)]
pub struct Recovery {
    conv: Convolution,
    norm: BatchNorm2d,
    layer: DecoderLayer,
}

impl Recovery {
    /// With random weights.
    ///
    /// # Panics
    /// If the heads do not divide the width.
    pub fn new(config: &TransformerConfig, device: &Device) -> Self {
        let d = config.width;
        Self {
            conv: convolution(d, d, 3, false, device),
            norm: BatchNorm2d::new(d, device),
            layer: config.decoder_layer(device),
        }
    }

    /// The tokens of the whole phrase, `[B, L, D]`.
    ///
    /// # Shapes
    /// - `erased` `[B, L, D]`, `x` `[B, D, H, W]`
    ///
    /// # Panics
    /// If shapes disagree.
    pub fn forward(&self, erased: Tensor<3>, x: Tensor<4>) -> Tensor<3> {
        let memory = flat(self.norm.after(&self.conv, x));
        self.layer.forward(Tokens::new(erased), Tokens::new(memory))
    }

    /// Whether training, too, uses running statistics.
    pub fn fix_norms(&mut self, fixed: bool) {
        self.norm.fix(fixed);
    }
}

impl PrepareInference for MapPair {
    fn prepare_inference(&mut self) {
        self.conv1.prepare_inference();
        self.conv2.prepare_inference();
    }
}

impl PrepareInference for Decoder {
    /// What only training reads stays as it is.
    fn prepare_inference(&mut self) {
        for pair in [&mut self.fuse4, &mut self.fuse3, &mut self.fuse2] {
            pair.prepare_inference();
        }
        self.attend4.prepare_inference();
        self.attend3.prepare_inference();
        self.head.prepare_inference();
    }
}
