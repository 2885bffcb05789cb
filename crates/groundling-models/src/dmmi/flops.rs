//! Counts operations: a multiply-add is two. Counted are products of matrices and convolutions of what an answer needs; not norms, softmax,
//! biases, activations, resizing and look-ups, and nothing that only training reads.

use super::config::{DmmiConfig, region_width, span_width};

impl DmmiConfig {
    /// Operations of a phrase, a picture and their answer. All are the same: phrases are filled up and pictures fill the canvas.
    pub fn flops(&self) -> u64 {
        let sides = self.backbone.sides(self.image_size);
        let channels = self.backbone.channels();
        let fusion: u128 = (0..4).map(|stage| self.fusion_products(stage, sides[stage], channels[stage])).sum();
        let image = self.backbone.shared().macs([self.image_size; 2]);
        let reading = u128::from(image) + fusion + self.decoder_products(sides) + self.absence_products(sides);
        let products = u128::from(self.text.bert().macs(self.text_len)) + reading * (1 + self.moves.len() as u128);
        u64::try_from(2 * products).unwrap_or(u64::MAX)
    }

    fn fusion_products(&self, stage: usize, side: usize, channels: usize) -> u128 {
        let [n, c, d, l] = [side * side, channels, self.text.width, self.text_len].map(|size| size as u128);
        let region = |&side: &usize| {
            let inner = region_width(channels, side) as u128;
            n * c * inner * (1 + (side * side) as u128) + l * d * c + n * l * c
        };
        let span = |&span: &usize| {
            let inner = span_width(channels, span) as u128;
            n * c * d + l * d * inner * (1 + span as u128) + n * l * d
        };
        let windows = self.regions.iter().map(region).sum::<u128>() + self.spans.iter().map(span).sum::<u128>();
        let visual = 3 * n * c * c + l * d * c + n * l * c;
        let language = if self.spans.is_empty() { 0 } else { n * c * d + n * l * d + 2 * l * d * d };
        let gated = stage < 3 || self.backbone.shows_gated();
        windows + visual + language + if gated { 2 * n * c * c } else { 0 }
    }

    fn decoder_products(&self, sides: [usize; 4]) -> u128 {
        let [c1, c2, c3, c4] = self.backbone.channels().map(|size| size as u128);
        let [n1, n2, n3, _] = sides.map(|side| (side * side) as u128);
        let [l, d, f] = [self.text_len, self.text.width, self.decoder_ffn].map(|size| size as u128);
        let fuse = |n: u128, inputs: u128| 9 * n * d * (inputs + d);
        let attend = |n: u128| 6 * n * d * d + 2 * l * d * d + 2 * n * n * d + 2 * n * l * d + 2 * n * d * f;
        fuse(n3, c4 + c3) + attend(n3) + fuse(n2, d + c2) + attend(n2) + fuse(n1, d + c1) + 2 * n1 * d
    }

    fn absence_products(&self, [_, n2, n3, _]: [usize; 4]) -> u128 {
        let [l, d, f, layers] =
            [self.text_len, self.text.width, self.decoder_ffn, self.absence_layers].map(|size| size as u128);
        let memory = [n2, n3].map(|side| (side * side) as u128).iter().sum::<u128>();
        let layer = 6 * l * d * d + 2 * memory * d * d + 2 * l * l * d + 2 * l * memory * d + 2 * l * d * f;
        layers * layer + if layers > 0 { 2 * d } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_convolutions_at_the_finest_map_decide() {
        // About 0.4 * 10^12 multiply-adds for Swin-B at 480 pixels, of which these two take 180 * 10^9.
        let all = DmmiConfig::swin_b().flops() as f64 / 2.0;
        let two = 9.0 * 120.0 * 120.0 * 768.0 * (768.0 + 128.0 + 768.0);
        assert!((0.35e12..0.45e12).contains(&all), "{all}");
        assert!(two / all > 0.4, "{}", two / all);
    }
}
