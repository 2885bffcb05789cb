//! The visual branch: a Swin whose stages the phrase gates, and a neck that gathers four maps into two.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use groundling_nn::layers::{Convolution, ConvolutionConfig, PrepareInference};
use groundling_nn::swin::{Swin, SwinStage, TokenMap};

use super::{QrNetConfig, QueryGate};
use crate::bases::Look;

/// A picture and a phrase in, visual tokens out.
#[derive(Module, Debug)]
pub struct QueryVisual {
    /// Picture to maps.
    pub swin: Swin,
    /// After each stage of it.
    pub gates: Vec<QueryGate>,
    /// Maps to one width.
    pub lateral: Vec<Convolution>,
    /// Of the finer three maps on their way down.
    pub down: Vec<QueryGate>,
}

impl QueryVisual {
    pub(super) fn new(config: &QrNetConfig, device: &Device) -> Self {
        let QrNetConfig { rank, reduction, dim, .. } = *config;
        let gate = |channels| QueryGate::new(channels, config.bert.width, rank, reduction, device);
        let point = |channels| ConvolutionConfig { bias: true, ..ConvolutionConfig::same(channels, dim, 1) };
        let channels = config.backbone.channels();
        Self {
            swin: config.backbone.init(device),
            gates: channels.into_iter().map(gate).collect(),
            lateral: channels.into_iter().map(|channels| point(channels).init(device)).collect(),
            down: (0..3).map(|_| gate(dim)).collect(),
        }
    }

    /// Maps of strides 32 and 64, `[B, D, H, W]`.
    ///
    /// # Shapes
    /// - `canvases` `[B, 3, H, W]`, sides multiples of 64; `phrase` `[B, P]`
    pub(super) fn forward<O: Look>(&self, canvases: Tensor<4>, phrase: &Tensor<2>, look: &mut O) -> [Tensor<4>; 2] {
        let maps = self.backbone(canvases, phrase, look);
        self.neck(maps, phrase, look)
    }

    /// Normalised maps of the four stages.
    fn backbone<O: Look>(&self, canvases: Tensor<4>, phrase: &Tensor<2>, look: &mut O) -> Vec<Tensor<4>> {
        let mut map = self.swin.patch_embed.forward(canvases);
        look.see("patch_embed", 0, || map.clone().into_image());
        let mut maps = Vec::with_capacity(4);
        for (index, (stage, gate)) in self.swin.layers.iter().zip(&self.gates).enumerate() {
            map = blocks(index, stage, map, look);
            let gated = gate.forward(map.tokens, phrase);
            look.see("swin.{}.channel", index, || gated.scaled.clone());
            look.see("swin.{}.qdatt", index, || gated.tokens.clone());
            map = TokenMap { tokens: gated.tokens, ..map };
            let out = self.swin.normed(index, map.clone()).into_image();
            look.see("swin.out.{}", index, || out.clone());
            maps.push(out);
            if let Some(downsample) = &stage.downsample {
                map = downsample.forward(map);
            }
        }
        maps
    }

    /// Coarse maps are added to finer ones, then gated means of finer ones to coarser.
    fn neck<O: Look>(&self, maps: Vec<Tensor<4>>, phrase: &Tensor<2>, look: &mut O) -> [Tensor<4>; 2] {
        let mut maps: Vec<Tensor<4>> =
            self.lateral.iter().zip(maps).map(|(lateral, map)| lateral.forward(map)).collect();
        for index in (1..4).rev() {
            maps[index - 1] = maps[index - 1].clone() + doubled(maps[index].clone());
        }
        for (index, gate) in self.down.iter().enumerate() {
            let map = TokenMap::from_image(maps[index].clone());
            let (height, width) = (map.height, map.width);
            let tokens = gate.forward(map.tokens, phrase).tokens;
            let mean = halved(TokenMap { tokens, height, width }.into_image());
            look.see("fpn_down.{}", index, || mean.clone());
            maps[index + 1] = maps[index + 1].clone() + mean;
        }
        let coarse = maps[3].clone();
        let [b, d, h, w] = coarse.dims();
        // Every second cell.
        let coarser = coarse.clone().reshape([b, d, h / 2, 2 * w]).narrow(3, 0, w).reshape([b, d, h / 2, w / 2, 2]);
        let coarser = coarser.narrow(4, 0, 1).reshape([b, d, h / 2, w / 2]);
        for (index, map) in maps.iter().chain([&coarser]).enumerate() {
            look.see("neck.{}", index, || map.clone());
        }
        [coarse, coarser]
    }
}

/// The blocks of a stage.
fn blocks<O: Look>(index: usize, stage: &SwinStage, mut map: TokenMap, look: &mut O) -> TokenMap {
    let mask = stage.blocks.iter().find_map(|block| block.shift_mask(&map));
    for (position, block) in stage.blocks.iter().enumerate() {
        map = block.forward(map, mask.as_ref());
        match position {
            0 => look.see("swin.{}.block0", index, || map.tokens.clone()),
            1 => look.see("swin.{}.block1", index, || map.tokens.clone()),
            _ => {}
        }
    }
    look.see("swin.{}.last", index, || map.tokens.clone());
    map
}

/// Every cell four times.
fn doubled(map: Tensor<4>) -> Tensor<4> {
    let [b, d, h, w] = map.dims();
    map.reshape([b * d, h, 1, w, 1]).expand([b * d, h, 2, w, 2]).reshape([b, d, 2 * h, 2 * w])
}

/// Means of blocks of two by two cells.
fn halved(map: Tensor<4>) -> Tensor<4> {
    let [b, d, h, w] = map.dims();
    map.reshape([b * d, h / 2, 2, w / 2, 2]).mean_dim(4).mean_dim(2).reshape([b, d, h / 2, w / 2])
}

impl PrepareInference for QueryVisual {
    fn prepare_inference(&mut self) {
        self.swin.prepare_inference();
        self.gates.prepare_inference();
        self.lateral.prepare_inference();
        self.down.prepare_inference();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Int;

    #[test]
    fn maps_of_other_sizes() {
        let device = Device::flex();
        let map = Tensor::<1, Int>::arange(0..4, &device).float().reshape([1, 1, 2, 2]);
        let large = doubled(map.clone());
        let values: Vec<f32> = large.clone().into_data().iter::<f32>().collect();
        assert_eq!(values, [0., 0., 1., 1., 0., 0., 1., 1., 2., 2., 3., 3., 2., 2., 3., 3.]);
        assert_eq!(halved(large).into_data().iter::<f32>().collect::<Vec<_>>(), [0., 1., 2., 3.]);
        assert_eq!(halved(map).into_data().iter::<f32>().collect::<Vec<_>>(), [1.5]);
    }
}
