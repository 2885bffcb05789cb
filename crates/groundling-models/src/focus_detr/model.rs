//! The network.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor};
use groundling_core::ImageSize;
use groundling_nn::layers::{Dense, PrepareInference, TokenNorm};
use groundling_nn::mlp::Mlp;

use super::config::{DecoderKind, EncoderConfig, FocusDetrConfig, LEVELS};
use super::decoder::{Decoder, DecoderInput};
use super::deformable::{LevelTokens, Samples};
use super::denoising::{DenoisingPlan, DenoisingQueries};
use super::encoder::{Encoded, Encoder, EncoderInput, Queries};
use super::features::{Neck, tokens};
use super::geometry::{FirstBoxes, Geometry, inverse_sigmoid};
use super::selector::{RARE, Selection, TokenSelector};
use super::{EPSILON, dense, ranking};
use crate::backbone::Backbone;
use crate::contract::ConfigError;
use crate::scalablevit::TooSmall;

/// The network.
#[derive(Module, Debug)]
pub struct FocusDetr {
    /// Image to maps.
    pub backbone: Backbone,
    /// Maps to levels of one width.
    pub neck: Neck,
    /// Added to the positions of a level, `[4, C]`.
    pub level_embedding: Param<Tensor<2>>,
    /// What selector and proposals read.
    pub proposals: TokenTransform,
    /// Foreground scores; `None` with a dense encoder.
    pub selector: Option<TokenSelector>,
    /// Tokens to memory.
    pub encoder: Encoder,
    /// Queries to objects.
    pub decoder: Decoder,
    /// One for each layer of the decoder, and one for tokens.
    pub class_heads: Vec<Dense>,
    /// One for each layer of the decoder, and one for tokens.
    pub box_heads: Vec<Mlp>,
    /// Contents of the queries, `[Q, C]`, best box first; `None` where contents are tokens.
    pub query_content: Option<Param<Tensor<2>>>,
    /// Contents of denoising queries, `[K, C]`; `None` where there are none.
    pub label_embedding: Option<Param<Tensor<2>>>,
    #[module(skip)]
    config: FocusDetrConfig,
}

/// A linear layer and a norm of tokens.
#[derive(Module, Debug)]
pub struct TokenTransform {
    /// `C` to `C`.
    pub transform: Dense,
    /// Over channels.
    pub norm: TokenNorm,
}

impl TokenTransform {
    /// # Shapes
    /// - `x` `[B, N, C]`; `valid` `[B, N, 1]`: tokens where it is zero come out as those of zero
    /// - returns `[B, N, C]`
    ///
    /// # Panics
    /// If shapes disagree.
    pub fn forward(&self, x: Tensor<3>, valid: Tensor<3>) -> Tensor<3> {
        self.norm.forward(self.transform.forward(x * valid))
    }
}

/// How to run the network.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ForwardOptions {
    /// Another average share of the tokens for the encoder's layers than the configuration's, above 0; a dense encoder has none.
    pub keep_ratio: Option<f32>,
}

/// An image that the network cannot take.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// Too small for the backbone.
    #[error(transparent)]
    TooSmall(#[from] TooSmall),
    /// The option is no share.
    #[error("keep ratio is {found}, expected a finite number above 0")]
    KeepRatio {
        /// What was given.
        found: f32,
    },
    /// Not one content for each image, or one outside of its canvas.
    #[error(
        "content {index} of a batch of {images} images is {found}, expected one for each image, within its canvas of {canvas}"
    )]
    Content {
        /// Which.
        index: usize,
        /// Images of the batch.
        images: usize,
        /// Width and height of the content, or what is wrong with their number.
        found: String,
        /// Width and height of the canvas.
        canvas: String,
    },
}

/// Logits and boxes of queries.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// `[B, Q, K]`.
    pub logits: Tensor<3>,
    /// `[B, Q, 4]`.
    pub boxes: Tensor<3>,
}

/// What the encoder made, and from which tokens.
#[derive(Debug, Clone)]
pub struct Encoding {
    /// Levels and padding.
    pub geometry: Geometry,
    /// First boxes of tokens.
    pub first: FirstBoxes,
    /// Scores and lists; `None` with a dense encoder.
    pub selection: Option<Selection>,
    /// `[B, N, C]`.
    pub memory: Tensor<3>,
    /// Fine tokens of each layer and image, as places among all tokens; empty where there is no fine attention.
    pub fine: Vec<Vec<Vec<usize>>>,
}

impl Encoding {
    /// How many tokens of each level each layer of the encoder works on, for one image, `[layer][level]`; all of them with a dense encoder.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn kept_per_level(&self, image: usize, layers: usize) -> Vec<Vec<usize>> {
        let counts = |levels: Vec<Vec<usize>>| levels.iter().map(Vec::len).collect();
        self.kept_cells(image, layers).into_iter().map(counts).collect()
    }

    /// On which cells of each level each layer of the encoder works, for one image, `[layer][level]`: ascending, row by row; all of them with
    /// a dense encoder.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn kept_cells(&self, image: usize, layers: usize) -> Vec<Vec<Vec<usize>>> {
        let sizes = self.geometry.sizes();
        let layer = |layer: usize| match &self.selection {
            Some(selection) => {
                // One list serves all layers of Sparse DETR's encoder.
                let kept = selection.kept[layer.min(selection.kept.len() - 1)].min(selection.budgets[image]);
                let mut cells = vec![Vec::new(); sizes.len()];
                for &token in &selection.order[image][..kept] {
                    let [level, row, column] = self.geometry.cell(token);
                    cells[level].push(row * sizes[level][1] + column);
                }
                cells.iter_mut().for_each(|cells| cells.sort_unstable());
                cells
            }
            None => sizes.iter().map(|[height, width]| (0..height * width).collect()).collect(),
        };
        (0..layers).map(layer).collect()
    }
}

/// Tokens that become queries.
#[derive(Debug, Clone)]
pub struct Proposals {
    /// Their places, best first.
    pub places: Vec<Vec<usize>>,
    /// What the token heads say of them.
    pub prediction: Prediction,
    /// `[B, Q, 4]`: boxes before the sigmoid, detached.
    pub box_logits: Tensor<3>,
}

/// Everything the network says about a batch.
#[derive(Debug, Clone)]
pub struct Output {
    /// What each layer of the decoder predicts.
    pub layers: Vec<Prediction>,
    /// What each layer predicts for denoising queries; empty without them.
    pub denoising: Vec<Prediction>,
    /// Boxes refined by each layer, `[B, Q, 4]`.
    pub refined: Vec<Tensor<3>>,
    /// Where each layer of the decoder read, denoising queries first.
    pub samples: Vec<Samples>,
    /// `[B, Q, C]`: what the heads of the last layer read.
    pub last_hidden: Tensor<3>,
    /// Tokens that became queries.
    pub proposals: Proposals,
    /// What was read.
    pub encoding: Encoding,
}

impl Output {
    /// The answer: what the last layer predicts.
    ///
    /// # Panics
    /// Never: a checked configuration has a layer.
    pub fn last(&self) -> &Prediction {
        self.layers.last().expect("the decoder has a layer")
    }
}

impl FocusDetrConfig {
    /// The module with random weights, as the released code starts it.
    ///
    /// # Errors
    /// If the configuration contradicts itself.
    pub fn init(&self, device: &Device) -> Result<FocusDetr, ConfigError> {
        self.check()?;
        let (width, heads) = (self.width, self.decoder_layers + 1);
        let normal = |rows: usize| Initializer::Normal { mean: 0.0, std: 1.0 }.init([rows, width], device);
        let box_head = || {
            let mut head = Mlp::new(&[width, width, width, 4], device);
            let mut last = Dense::with_initializer(width, 4, Initializer::Zeros, device);
            std::mem::swap(&mut head.layers[2], &mut last);
            head
        };
        let class_head = || {
            let mut head = Dense::new(width, self.classes, device);
            head.bias = Some(Initializer::Constant { value: RARE }.init([self.classes], device));
            head
        };
        let dino = self.decoder == DecoderKind::Dino;
        let content = Initializer::XavierUniform { gain: 1.0 };
        Ok(FocusDetr {
            backbone: self.backbone.init(device)?.with_frozen_stem(),
            neck: Neck::new(self, device),
            level_embedding: normal(LEVELS),
            proposals: TokenTransform {
                transform: dense(width, width, device),
                norm: TokenNorm::new(width, EPSILON, device),
            },
            selector: match &self.encoder {
                EncoderConfig::Focus(focus) => Some(TokenSelector::top_down(width, focus.modulation, device)),
                EncoderConfig::Sparse { .. } => Some(TokenSelector::joint(width, device)),
                EncoderConfig::Dense => None,
            },
            encoder: Encoder::new(self, device),
            decoder: Decoder::new(self, device),
            class_heads: (0..heads).map(|_| class_head()).collect(),
            box_heads: (0..heads).map(|_| box_head()).collect(),
            query_content: dino
                .then(|| content.init_with([self.queries, width], Some(width), Some(self.queries), device)),
            label_embedding: dino.then(|| normal(self.classes)),
            config: self.clone(),
        })
    }
}

impl FocusDetr {
    /// What it was made from.
    pub fn config(&self) -> &FocusDetrConfig {
        &self.config
    }

    /// Finds objects.
    ///
    /// PARITY: the released code evaluates batches with `contents: None`, even padded ones: the padding is taken for image, and boxes are
    /// fractions of the canvas. Give contents, or single images.
    ///
    /// # Shapes
    /// - `image` `[B, 3, H, W]`, normalised, padded right and below
    /// - `contents`: sizes of the images without padding; `None`: there is none
    ///
    /// # Errors
    /// If an image, its content or an option is not possible.
    ///
    /// # Panics
    /// If the image does not have three channels.
    pub fn forward(
        &self,
        image: Tensor<4>,
        contents: Option<&[ImageSize]>,
        options: &ForwardOptions,
    ) -> Result<Output, ForwardError> {
        self.forward_denoising(image, contents, options, None)
    }

    /// As [`FocusDetr::forward`], with denoising queries in front of the others.
    ///
    /// # Errors
    /// As [`FocusDetr::forward`].
    ///
    /// # Panics
    /// If the image does not have three channels, or the denoising queries are not for this batch.
    pub fn forward_denoising(
        &self,
        image: Tensor<4>,
        contents: Option<&[ImageSize]>,
        options: &ForwardOptions,
        denoising: Option<(&DenoisingPlan, DenoisingQueries)>,
    ) -> Result<Output, ForwardError> {
        if let Some(found) = options.keep_ratio.filter(|ratio| !(ratio.is_finite() && *ratio > 0.0)) {
            return Err(ForwardError::KeepRatio { found });
        }
        let [images, _, height, width] = image.dims();
        if let Some(contents) = contents {
            check_contents(contents, images, [height, width])?;
        }
        let [_, c3, c4, c5] = self.backbone.forward(image)?;
        let maps = self.neck.forward([c3, c4, c5]);
        let sizes: Vec<[usize; 2]> = maps.iter().map(|map| [map.dims()[2], map.dims()[3]]).collect();
        let canvas = ImageSize::new(height as u32, width as u32).ok();
        let geometry = match contents.zip(canvas) {
            Some((contents, canvas)) => Geometry::new(canvas, contents, &sizes),
            None => Geometry::whole(images, &sizes),
        };
        let encoding = self.encode(maps, geometry, options);
        let proposals = self.propose(&encoding);
        Ok(self.decode(encoding, proposals, denoising))
    }

    /// Maps of the neck to memory.
    ///
    /// # Panics
    /// If the maps are not those of the geometry.
    pub fn encode(&self, maps: Vec<Tensor<4>>, geometry: Geometry, options: &ForwardOptions) -> Encoding {
        let (x, sizes) = tokens(maps);
        assert_eq!(sizes, geometry.sizes(), "maps of the geometry's levels");
        let device = x.device();
        let positions = self.positions(&geometry, &device);
        let first = geometry.first_boxes(&device);
        let all = Queries { tokens: x, positions, references: geometry.reference_points(&device) };
        let input = EncoderInput { padding: geometry.padding(&device), sizes: &sizes, all };
        let selection = self.select(&input, &first, &geometry, options);
        let Encoded { memory, fine } = match (&self.config.encoder, &selection) {
            (EncoderConfig::Focus(focus), Some(selection)) => {
                self.encoder.forward_focus(&input, selection, focus.fine_tokens, self.token_class_head())
            }
            (EncoderConfig::Sparse { .. }, Some(selection)) => self.encoder.forward_sparse(&input, selection),
            _ => self.encoder.forward_dense(&input),
        };
        Encoding { geometry, first, selection, memory, fine }
    }

    /// Scores of all tokens, and the lists that follow; `None` with a dense encoder.
    fn select(
        &self,
        input: &EncoderInput<'_>,
        first: &FirstBoxes,
        geometry: &Geometry,
        options: &ForwardOptions,
    ) -> Option<Selection> {
        let selector = self.selector.as_ref()?;
        let placed = input.all.tokens.clone() + input.all.positions.clone();
        let scores = selector.forward(self.proposals.forward(placed, first.valid.clone()), geometry.sizes());
        Some(match &self.config.encoder {
            EncoderConfig::Focus(focus) => {
                let keep = options.keep_ratio.map_or(focus.keep, |ratio| ratio / focus.mean_cascade());
                Selection::new(scores, geometry, keep, &focus.cascade)
            }
            EncoderConfig::Sparse { keep } => {
                Selection::new(scores, geometry, options.keep_ratio.unwrap_or(*keep), &[1.0])
            }
            EncoderConfig::Dense => return None,
        })
    }

    /// Sine encodings of all cells plus the embedding of their level, `[B, N, C]`.
    fn positions(&self, geometry: &Geometry, device: &Device) -> Tensor<3> {
        let encoding = self.config.position.encoding(self.config.width);
        let embedding = self.level_embedding.val();
        let level = |(index, [height, width]): (usize, &[usize; 2])| {
            let map = encoding.forward(geometry.level_padding(index, device));
            let [b, c, _, _] = map.dims();
            let cells = map.reshape([b, c, height * width]).swap_dims(1, 2);
            cells + embedding.clone().narrow(0, index, 1).reshape([1, 1, c])
        };
        Tensor::cat(geometry.sizes().iter().enumerate().map(level).collect(), 1)
    }

    /// Ranks tokens, and makes queries of the best.
    ///
    /// # Panics
    /// If the encoding is of another width.
    pub fn propose(&self, encoding: &Encoding) -> Proposals {
        let transformed = self.proposals.forward(encoding.memory.clone(), encoding.first.valid.clone());
        let head = self.token_class_head();
        // Nothing but the choice depends on the logits of all tokens; those of the chosen are made again with gradient.
        let logits = head.forward(transformed.clone().detach());
        let ranked = logits.max_dim(2).squeeze_dim::<2>(2);
        let places = ranking::largest_of_rows(ranked.detach(), self.config.queries);
        let chosen = ranking::gather(transformed, &places);
        let first = ranking::gather(encoding.first.logits.clone(), &places);
        let unbounded = self.token_box_head().forward(chosen.clone()) + first;
        Proposals {
            places,
            prediction: Prediction { logits: head.forward(chosen), boxes: sigmoid(unbounded.clone()) },
            box_logits: unbounded.detach(),
        }
    }

    /// Runs the decoder.
    ///
    /// # Panics
    /// If the proposals or denoising queries are not for this encoding.
    pub fn decode(
        &self,
        encoding: Encoding,
        proposals: Proposals,
        denoising: Option<(&DenoisingPlan, DenoisingQueries)>,
    ) -> Output {
        let [images, count, _] = proposals.box_logits.dims();
        let device = proposals.box_logits.device();
        let width = self.config.width;
        let content = match &self.query_content {
            Some(content) => content.val().narrow(0, 0, count).unsqueeze_dim::<3>(0).expand([images, count, width]),
            None => ranking::gather(encoding.memory.clone(), &proposals.places).detach(),
        };
        let slots = denoising.as_ref().map_or(0, |(plan, _)| plan.slots());
        let (content, box_logits, hidden) = match denoising {
            Some((plan, queries)) => (
                Tensor::cat(vec![queries.content, content], 1),
                Tensor::cat(vec![queries.box_logits, proposals.box_logits.clone()], 1),
                Some(plan.hidden(count, &device)),
            ),
            None => (content, proposals.box_logits.clone(), None),
        };
        let boxes = sigmoid(box_logits);
        let states = self.decoder.forward(
            DecoderInput {
                content,
                boxes: boxes.clone(),
                hidden,
                memory: LevelTokens {
                    tokens: encoding.memory.clone(),
                    sizes: encoding.geometry.sizes(),
                    padding: encoding.geometry.padding(&device),
                },
                valid_ratios: encoding.geometry.valid_ratios(&device),
            },
            &self.box_heads,
        );
        let (mut layers, mut noised, mut refined, mut samples) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut before = boxes;
        let mut last_hidden = Tensor::zeros([images, count, width], &device);
        for (index, state) in states.into_iter().enumerate() {
            last_hidden = state.hidden.clone().narrow(1, slots, count);
            let prediction = self.read_out(index, state.hidden, before, &state.boxes);
            before = state.boxes.clone();
            if slots > 0 {
                noised.push(prediction.part(0, slots));
            }
            layers.push(prediction.part(slots, count));
            refined.push(state.boxes.narrow(1, slots, count));
            samples.push(state.samples);
        }
        Output { layers, denoising: noised, refined, samples, last_hidden, proposals, encoding }
    }

    /// What the heads of a layer say; `before` are the boxes that the layer before refined, on the tape ("look forward twice").
    ///
    /// # Panics
    /// If there is no such layer or shapes disagree.
    pub fn read_out(&self, layer: usize, hidden: Tensor<3>, before: Tensor<3>, refined: &Tensor<3>) -> Prediction {
        let boxes = match self.config.decoder {
            DecoderKind::Dino => {
                let start = inverse_sigmoid(before, self.config.decoder.logit_epsilon());
                sigmoid(self.box_heads[layer].forward(hidden.clone()) + start)
            }
            DecoderKind::TwoStage => refined.clone(),
        };
        Prediction { logits: self.class_heads[layer].forward(hidden), boxes }
    }

    fn token_class_head(&self) -> &Dense {
        &self.class_heads[self.config.decoder_layers]
    }

    fn token_box_head(&self) -> &Mlp {
        &self.box_heads[self.config.decoder_layers]
    }
}

impl Prediction {
    fn part(&self, start: usize, count: usize) -> Self {
        Self { logits: self.logits.clone().narrow(1, start, count), boxes: self.boxes.clone().narrow(1, start, count) }
    }
}

fn check_contents(contents: &[ImageSize], images: usize, [height, width]: [usize; 2]) -> Result<(), ForwardError> {
    let error = |index: usize, found: String| ForwardError::Content {
        index,
        images,
        found,
        canvas: format!("{width}x{height}"),
    };
    if contents.len() != images {
        return Err(error(contents.len(), format!("one of {}", contents.len())));
    }
    let outside = |content: &ImageSize| content.height() as usize > height || content.width() as usize > width;
    match contents.iter().position(outside) {
        Some(index) => Err(error(index, contents[index].to_string())),
        None => Ok(()),
    }
}

impl PrepareInference for FocusDetr {
    fn prepare_inference(&mut self) {
        self.backbone.prepare_inference();
        self.neck.prepare_inference();
        self.proposals.transform.prepare_inference();
        self.selector.prepare_inference();
        self.encoder.layers.prepare_inference();
        self.decoder.prepare_inference();
        self.class_heads.prepare_inference();
        self.box_heads.prepare_inference();
    }
}
