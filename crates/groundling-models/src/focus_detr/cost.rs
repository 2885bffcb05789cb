//! Multiply-accumulates of the network: what saving tokens saves.
//!
//! Norms, activations and softmaxes are not counted; bilinear sampling counts as four for each number that is read.

use super::FocusDetr;
use super::config::{EncoderConfig, FocusDetrConfig, LEVELS};
use crate::scalablevit::TooSmall;

/// Multiply-accumulates of one image by part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacCount {
    /// Image to maps.
    pub backbone: u64,
    /// Maps to levels.
    pub neck: u64,
    /// The selector's score head; 0 with a dense encoder.
    pub selector: u64,
    /// What selector and proposals read: twice with a selector, else once.
    pub transform: u64,
    /// Each layer of the encoder.
    pub encoder_layers: Vec<u64>,
    /// Token heads and their part in choosing queries: class head on all tokens, box head on the chosen ones.
    pub proposals: u64,
    /// The decoder with its heads.
    pub decoder: u64,
}

impl MacCount {
    /// All layers of the encoder.
    pub fn encoder(&self) -> u64 {
        self.encoder_layers.iter().sum()
    }

    /// All parts.
    pub fn total(&self) -> u64 {
        self.backbone + self.neck + self.selector + self.transform + self.encoder() + self.proposals + self.decoder
    }
}

impl FocusDetr {
    /// Counts for one image without padding; `keep_ratio` as in [`ForwardOptions`](super::ForwardOptions).
    ///
    /// # Errors
    /// If a ScalableViT cannot take an image as small as this.
    pub fn macs(&self, image: [usize; 2], keep_ratio: Option<f32>) -> Result<MacCount, TooSmall> {
        let config = self.config();
        config.backbone.fits(image)?;
        Ok(config.macs_behind(config.backbone.macs(image), image, keep_ratio))
    }

    /// As [`FocusDetr::macs`], had the encoder been the dense one.
    ///
    /// # Errors
    /// If a ScalableViT cannot take an image as small as this.
    pub fn dense_macs(&self, image: [usize; 2]) -> Result<MacCount, TooSmall> {
        let dense = FocusDetrConfig { encoder: EncoderConfig::Dense, ..self.config().clone() };
        Ok(dense.macs_behind(self.macs(image, None)?.backbone, image, None))
    }

    /// The largest average keep ratio, up to 1, with which an image costs no more than so many multiply-accumulates; `None` if even the
    /// smallest costs more, or the encoder is dense.
    ///
    /// # Errors
    /// If a ScalableViT cannot take an image as small as this.
    pub fn keep_ratio_within(&self, budget: u64, image: [usize; 2]) -> Result<Option<f32>, TooSmall> {
        let config = self.config();
        let backbone = self.macs(image, None)?.backbone;
        let fits = |ratio: f32| config.macs_behind(backbone, image, Some(ratio)).total() <= budget;
        let (mut low, mut high) = (1e-4, 1.0);
        if config.encoder == EncoderConfig::Dense || !fits(low) {
            return Ok(None);
        }
        if fits(high) {
            return Ok(Some(high));
        }
        // Costs do not fall with the ratio: the border lies between what fits and what does not.
        for _ in 0..24 {
            let middle = 0.5 * (low + high);
            if fits(middle) { low = middle } else { high = middle }
        }
        Ok(Some(low))
    }
}

impl FocusDetrConfig {
    /// Rows and columns of the levels for an image of so many rows and columns.
    pub fn level_sizes(&self, [height, width]: [usize; 2]) -> [[usize; 2]; LEVELS] {
        let mut size = [height, width].map(|side| side.div_ceil(2).div_ceil(2));
        [(); LEVELS].map(|()| {
            size = size.map(|side| side.div_ceil(2));
            size
        })
    }

    fn macs_behind(&self, backbone: u64, image: [usize; 2], keep_ratio: Option<f32>) -> MacCount {
        let [c, k] = [self.width, self.classes].map(|v| v as u64);
        let sizes = self.level_sizes(image);
        let cells = sizes.map(|[height, width]| (height * width) as u64);
        let n: u64 = cells.iter().sum();
        let queries = (self.queries as u64).min(n);
        let [_, c3, c4, c5] = self.backbone.channels().map(|channels| channels as u64);
        let selects = self.encoder != EncoderConfig::Dense;
        let box_head = 2 * c * c + 4 * c;
        MacCount {
            backbone,
            neck: c * (cells[0] * c3 + cells[1] * c4 + cells[2] * c5 + cells[3] * 9 * c5),
            selector: if selects { n * (c * c + c * (c / 2) + c / 2 * (c / 4) + c / 4) } else { 0 },
            transform: n * c * c * if selects { 2 } else { 1 },
            encoder_layers: self.encoder_macs(n, keep_ratio),
            proposals: n * c * k + queries * (c * k + box_head),
            decoder: self.decoder_layers as u64
                * (n * c * c
                    + self.attention(queries)
                    + self.deformable(queries)
                    + self.feed_forward_macs(queries)
                    + queries * (3 * c * c)
                    + queries * (c * k + 2 * box_head)),
        }
    }

    fn encoder_macs(&self, n: u64, keep_ratio: Option<f32>) -> Vec<u64> {
        let c = self.width as u64;
        let (keep, shares, fine_tokens) = match &self.encoder {
            EncoderConfig::Focus(focus) => {
                let keep = keep_ratio.map_or(focus.keep, |ratio| ratio / focus.mean_cascade());
                (keep, focus.cascade.clone(), Some(focus.fine_tokens as u64))
            }
            EncoderConfig::Sparse { keep } => (keep_ratio.unwrap_or(*keep), vec![1.0; self.encoder_layers], None),
            EncoderConfig::Dense => (f32::INFINITY, vec![1.0; self.encoder_layers], None),
        };
        let entering = (n as f32 * keep) as u64;
        let layer = |share: f32| {
            let kept = ((share * entering.saturating_add(1) as f32) as u64).clamp(1, n);
            let fine = fine_tokens.map_or(0, |most| kept * c * self.classes as u64 + self.attention(most.min(kept)));
            n * c * c + self.deformable(kept) + self.feed_forward_macs(kept) + fine
        };
        shares.into_iter().map(layer).collect()
    }

    /// Attention of so many tokens among themselves.
    fn attention(&self, tokens: u64) -> u64 {
        let c = self.width as u64;
        4 * tokens * c * c + 2 * tokens * tokens * c
    }

    /// Deformable attention of so many queries, but for the projection of the values.
    fn deformable(&self, queries: u64) -> u64 {
        let c = self.width as u64;
        let samples = (self.heads * LEVELS * self.points) as u64;
        queries * c * (3 * samples + c) + 4 * queries * samples * (self.width / self.heads) as u64
    }

    fn feed_forward_macs(&self, tokens: u64) -> u64 {
        2 * tokens * (self.width * self.feed_forward) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    /// Counts of the reference with an operator counter at 800 x 1066, within the 2 % that counters differ by.
    #[test]
    fn counts_are_the_references() {
        let near = |found: u64, expected: f64, what: &str| {
            let found = found as f64 / 1e9;
            assert!((found - expected).abs() <= 0.02 * expected, "{what}: {found}, expected {expected}");
        };
        let image = [800, 1066];
        let focus = FocusDetrConfig::r50();
        let tokens: usize = focus.level_sizes(image).iter().map(|[height, width]| height * width).sum();
        assert_eq!(tokens, 17_821);
        let of = |config: &FocusDetrConfig| config.init(&Device::flex()).unwrap();
        let count = of(&focus).macs(image, None).unwrap();
        // The reference runs the tokens' box head on all of them, and counts it with the decoder.
        let (n, c, queries) = (17_821u64, 256u64, 900u64);
        let box_head = 2 * c * c + 4 * c;
        let more = (n - queries) * box_head;
        near(count.backbone, 70.0, "backbone");
        near(count.neck, 4.1, "neck");
        near(count.encoder(), 48.3, "encoder");
        near(count.encoder_layers[0], 12.27, "first layer");
        near(count.encoder_layers[5], 3.49, "last layer");
        near(count.selector, 1.92, "selector");
        near(count.transform, 2.34, "transform");
        near(count.decoder + n * box_head, 22.5, "decoder");
        near(count.total() + more, 149.3, "total");
        let dense = FocusDetrConfig { encoder: EncoderConfig::Dense, ..focus };
        let dense = of(&dense);
        let count = dense.macs(image, None).unwrap();
        near(count.encoder(), 138.7, "dense encoder");
        near(count.total() + more, 236.9, "dense total");
        assert_eq!(dense.keep_ratio_within(u64::MAX, image), Ok(None));
    }

    #[test]
    fn a_budget_is_kept_and_used() {
        let (model, image) = (FocusDetrConfig::r50().init(&Device::flex()).unwrap(), [480, 640]);
        let [least, most] = [1e-4, 1.0].map(|ratio| model.macs(image, Some(ratio)).unwrap().total());
        assert_eq!(model.keep_ratio_within(least - 1, image), Ok(None));
        assert_eq!(model.keep_ratio_within(most, image), Ok(Some(1.0)));
        let budget = (least + most) / 2;
        let ratio = model.keep_ratio_within(budget, image).unwrap().unwrap();
        let used = model.macs(image, Some(ratio)).unwrap().total();
        assert!(used <= budget && used as f64 > 0.99 * budget as f64, "{used} of {budget}");
    }
}
