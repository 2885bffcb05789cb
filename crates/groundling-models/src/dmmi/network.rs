//! Everything but the phrase encoder: image encoder, fusion at every stage, decoders.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use groundling_nn::layers::{Dense, PrepareInference};
use groundling_nn::resize::{Meet, bilinear};
use groundling_nn::swin::TokenMap;

use super::absence::Absence;
use super::config::DmmiConfig;
use super::decoder::{Decoded, Decoder};
use super::mba::{Language, Mba, MbaConfig};
use super::norms::dense;
use super::observe::Observer;
use crate::backbone::Backbone as Encoder;
use crate::contract::ConfigError;

/// The segmentation network: works on embeddings of phrases, not on ids.
#[derive(Module, Debug)]
pub struct Network {
    backbone: Encoder,
    fusion: Vec<Mba>,
    decoder: Decoder,
    /// What tokens are before they are compared with the map.
    align: Dense,
    /// Whether anything fits, where the configuration asks for more than the masks.
    absence: Option<Absence>,
}

/// What encoder and fusion make.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// For the decoder, `[B, C, H, W]` of the four stages, finest first.
    pub features: [Tensor<4>; 4],
    /// The phrase after the last stage, `[B, L, D]`.
    pub language: Tensor<3>,
}

/// What the network makes of an image and a phrase.
#[derive(Debug, Clone)]
pub struct Output {
    /// Of background and target at the size of the image, `[B, 2, H, W]`.
    pub logits: Tensor<4>,
    /// The phrase after the last stage, `[B, L, D]`.
    pub language: Tensor<3>,
    /// Logits at the size of the finest map, and what the auxiliary losses read.
    pub decoded: Decoded,
    /// Log-odds of whether anything fits the phrase, `[B, 1]`; `None` where the model has no part that says so.
    pub present: Option<Tensor<2>>,
}

impl Network {
    /// With random weights, for a configuration that was checked.
    pub(super) fn new(config: &DmmiConfig, device: &Device) -> Result<Self, ConfigError> {
        let channels = config.backbone.channels();
        let backbone = config.backbone.shared().init(device)?;
        // PARITY: Swin's last gate has weights that nothing reads; they are kept because released weights have them.
        let gated = |stage: usize| stage < 3 || config.backbone.shows_gated();
        let fusion = |stage: usize| {
            let config = MbaConfig {
                channels: channels[stage],
                width: config.text.width,
                regions: config.regions.clone(),
                spans: config.spans.clone(),
                gated: gated(stage),
            };
            config.init(device)
        };
        let fusion = (0..4).map(fusion).collect();
        let decoder = Decoder::new(channels, &config.transformer(), device);
        let align = dense(config.text.width, config.text.width, device);
        Ok(Self { backbone, fusion, decoder, align, absence: Absence::new(config, device) })
    }

    /// The first stage alone, which reads no phrase: `[B, C, H / 4, W / 4]`.
    ///
    /// # Shapes
    /// - `image` `[B, 3, H, W]`, normalised
    pub fn first(&self, image: Tensor<4>) -> Tensor<4> {
        self.backbone.stage(0, image, &mut Observer::none())
    }

    /// The four stages from what [`Network::first`] made, each followed by its fusion with the phrase.
    ///
    /// # Panics
    /// If shapes disagree.
    pub fn encode(&self, first: Tensor<4>, language: &Language, observer: &mut Observer<'_>) -> Encoded {
        let mut language = language.clone();
        let mut x = first;
        let mut features = Vec::with_capacity(4);
        for (stage, fusion) in self.fusion.iter().enumerate() {
            if stage > 0 {
                x = self.backbone.stage(stage, x, observer);
            }
            observer.enter(format!("stage{stage}."));
            let fused = fusion.forward(x.clone(), &language, observer);
            language.tokens = fused.language;
            // Nothing reads the gated map of the last stage but the decoder behind a ResNet.
            let needed = stage < 3 || matches!(self.backbone, Encoder::ResNet(_)) || observer.watches();
            if needed {
                x = fusion.gated(x, fused.residual.clone(), observer);
                observer.see("gated", &x);
            }
            features.push(self.backbone.feature(stage, fused.residual, x.clone()));
            observer.enter("");
        }
        let features: [Tensor<4>; 4] = features.try_into().expect("there are four stages");
        for (name, feature) in ["c1", "c2", "c3", "c4"].into_iter().zip(&features) {
            observer.see(name, feature);
        }
        Encoded { features, language: language.tokens }
    }

    /// From what [`Network::first`] made to masks of the given size.
    ///
    /// # Shapes
    /// - `language` `[B, L, D]`, and `erased` `[B, L, D]`, the embeddings of the phrase with a hole: with them
    ///   [`Decoded::learned`] is made
    ///
    /// # Panics
    /// If shapes disagree.
    pub fn forward(
        &self,
        first: Tensor<4>,
        language: &Language,
        erased: Option<Tensor<3>>,
        size: [usize; 2],
        observer: &mut Observer<'_>,
    ) -> Output {
        let valid = language.valid.clone();
        let Encoded { features, language } = self.encode(first, language, observer);
        let decoded = self.decoder.forward(features, language.clone(), erased, observer);
        let present = self.present(&decoded, language.clone(), valid);
        Output { logits: bilinear(decoded.low_logits.clone(), size, Meet::CornerPixels), language, decoded, present }
    }

    fn present(&self, decoded: &Decoded, language: Tensor<3>, valid: Tensor<2>) -> Option<Tensor<2>> {
        self.absence.as_ref().map(|absence| absence.forward(decoded, language, valid))
    }

    /// Without anything that only training reads: logits of background and target at the size of the finest map, `[B, 2, H / 4, W / 4]`, and
    /// the log-odds of whether anything fits.
    ///
    /// # Panics
    /// If shapes disagree.
    pub(super) fn low_logits(&self, first: Tensor<4>, language: &Language) -> (Tensor<4>, Option<Tensor<2>>) {
        let nobody = &mut Observer::none();
        let valid = language.valid.clone();
        let Encoded { features, language } = self.encode(first, language, nobody);
        let decoded = self.decoder.forward(features, language.clone(), None, nobody);
        let present = self.present(&decoded, language, valid);
        (decoded.low_logits, present)
    }

    /// Where the weights are.
    pub(super) fn device(&self) -> Device {
        self.align.weight.device()
    }

    /// The phrase as one vector to be compared with the map, `[B, D]`. PARITY: the mean is over padding, too.
    ///
    /// # Shapes
    /// - `language` `[B, L, D]` as the last stage left it
    pub fn summary(&self, language: Tensor<3>) -> Tensor<2> {
        self.align.forward(language).mean_dim(1).squeeze_dim(1)
    }

    /// Whether training, too, normalises the decoder's maps by running statistics.
    pub fn fix_norms(&mut self, fixed: bool) {
        self.decoder.fix_norms(fixed);
    }
}

/// The image encoder, stopped after each stage.
impl Encoder {
    /// From the image (stage 0) or the gated map of the stage before.
    fn stage(&self, stage: usize, x: Tensor<4>, observer: &mut Observer<'_>) -> Tensor<4> {
        match self {
            Self::Swin(swin) => {
                let map = match stage.checked_sub(1).and_then(|before| swin.layers[before].downsample.as_ref()) {
                    Some(downsample) => downsample.forward(TokenMap::from_image(x)),
                    None => swin.patch_embed.forward(x),
                };
                observer.see(&format!("stage{stage}.input"), &map.tokens);
                swin.layers[stage].forward_blocks(map).into_image()
            }
            Self::ScalableVit(net) => {
                let x = match stage.checked_sub(1) {
                    Some(before) => net.stages[before].passed(TokenMap::from_image(x)).into_image(),
                    None => x,
                };
                let map = net.stages[stage].patch_embed.forward(x);
                observer.see(&format!("stage{stage}.input"), &map.tokens);
                net.stages[stage].forward_blocks(map).into_image()
            }
            Self::ResNet(resnet) => resnet.stage(stage, x),
        }
    }

    /// What the decoder reads. PARITY: of a Swin the normalised residual alone, of a ResNet the gated sum, as released weights expect; a
    /// ScalableViT is treated as a Swin.
    fn feature(&self, stage: usize, residual: Tensor<4>, gated: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Swin(swin) => swin.normed(stage, TokenMap::from_image(residual)).into_image(),
            Self::ScalableVit(net) => net.stages[stage].normed(TokenMap::from_image(residual)).into_image(),
            Self::ResNet(_) => gated,
        }
    }
}

impl PrepareInference for Network {
    fn prepare_inference(&mut self) {
        self.backbone.prepare_inference();
        self.fusion.prepare_inference();
        self.decoder.prepare_inference();
        self.absence.prepare_inference();
    }
}
