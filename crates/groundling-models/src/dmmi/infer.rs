//! From ids and canvases to losses and to answers.

use burn::tensor::{Int, Tensor, TensorData};
use groundling_core::BoxCxcywh;
use groundling_nn::resize::{Meet, bilinear};

use super::Dmmi;
use super::criterion::{Criterion, Targets};
use super::mba::Language;
use super::observe::Observer;
use crate::contract::{Batch, GroundOptions, Grounded, GroundedTarget, Losses, MaskLogits, OptionError, SampleTruth};

/// Pixels that are run at a time, so that memory does not grow with the number of pairs: four of the published size.
const PIXELS_AT_A_TIME: usize = 4 * 480 * 480;

/// A phrase that was read: the output of BERT.
#[derive(Debug, Clone)]
pub struct Phrase {
    language: Language,
}

/// A picture that was read: the maps after the first stage of the encoder, which no phrase has touched yet, of the picture as it is and moved.
#[derive(Debug, Clone)]
pub struct View {
    firsts: Vec<Tensor<4>>,
    size: [usize; 2],
}

impl Dmmi {
    pub(super) fn phrase(&self, ids: &[u32]) -> Phrase {
        let device = self.network.device();
        let length = self.config.text_len;
        // A word that the table does not know would be read beyond its end; there is no such piece in the vocabulary.
        let last = self.config.text.vocab.saturating_sub(1);
        let mut values: Vec<i64> = ids.iter().take(length).map(|&id| (id as usize).min(last) as i64).collect();
        let real = values.len().max(1);
        values.resize(length, 0);
        let ids = Tensor::<2, Int>::from_data(TensorData::new(values, [1, length]), &device);
        let valid = valid(&[real], length, &device);
        let tokens = self.embed(ids, valid.clone());
        Phrase { language: Language { tokens, valid } }
    }

    pub(super) fn view(&self, canvas: Tensor<4>) -> View {
        let [_, _, height, width] = canvas.dims();
        let first = |by: &[i64; 2]| self.network.first(moved(canvas.clone(), *by));
        View { firsts: self.readings().iter().map(first).collect(), size: [height, width] }
    }

    /// By how much the picture is moved for each reading, the first of which does not move it.
    fn readings(&self) -> Vec<[i64; 2]> {
        [&[[0, 0]], self.config.moves.as_slice()].concat()
    }

    pub(super) fn ground_pairs(
        &self,
        pairs: &[(&Phrase, &View)],
        options: &GroundOptions,
    ) -> Result<Vec<Grounded>, OptionError> {
        let flops = self.config.flops();
        options.check_one_level(flops)?;
        let at_a_time = (PIXELS_AT_A_TIME / self.config.image_size.pow(2)).max(1);
        let mut grounded = Vec::with_capacity(pairs.len());
        for some in pairs.chunks(at_a_time) {
            for (mask, present) in self.masks(some) {
                grounded.push(answer(mask, present, flops));
            }
        }
        Ok(grounded)
    }

    /// Log-odds of the pairs' masks, and of whether anything fits where the model says so, all of them means over the readings. Pictures that
    /// are read by one model have one size.
    fn masks(&self, pairs: &[(&Phrase, &View)]) -> Vec<(MaskLogits, Option<f32>)> {
        let Some((_, View { size, .. })) = pairs.first() else { return Vec::new() };
        let [height, width] = *size;
        let cat3 = |of: fn(&Phrase) -> Tensor<3>| Tensor::cat(pairs.iter().map(|(phrase, _)| of(phrase)).collect(), 0);
        let valid = Tensor::cat(pairs.iter().map(|(phrase, _)| phrase.language.valid.clone()).collect(), 0);
        let language = Language { tokens: cat3(|phrase| phrase.language.tokens.clone()), valid };
        let readings = self.readings();
        let read = |(index, &[right, down]): (usize, &[i64; 2])| {
            let first = Tensor::cat(pairs.iter().map(|(_, view)| view.firsts[index].clone()).collect(), 0);
            let (low, present) = self.network.low_logits(first, &language);
            // Resizing is linear: the difference of two resized maps is the resized difference.
            let odds = low.clone().narrow(1, 1, 1) - low.narrow(1, 0, 1);
            (moved(bilinear(odds, [height, width], Meet::CornerPixels), [-right, -down]), present)
        };
        let sum = |(odds, present): (Tensor<4>, Option<Tensor<2>>), (more, again): (Tensor<4>, Option<Tensor<2>>)| {
            (odds + more, present.zip(again).map(|(present, again)| present + again))
        };
        let (odds, present) = readings.iter().enumerate().map(read).reduce(sum).expect("there is a reading");
        let share = 1.0 / readings.len() as f32;
        let values: Vec<f32> = odds.mul_scalar(share).into_data().iter::<f32>().collect();
        let masks = values.chunks(height * width).map(|logits| MaskLogits { height, width, logits: logits.to_vec() });
        let present = match present {
            Some(odds) => odds.mul_scalar(share).into_data().iter::<f32>().map(Some).collect(),
            None => vec![None; pairs.len()],
        };
        masks.zip(present).collect()
    }

    /// The map after the first stage of each pair, computed once for each canvas.
    fn first_of(&self, batch: &Batch) -> Tensor<4> {
        let [b, ..] = batch.canvases.dims();
        assert_eq!(batch.same_canvas.len(), b, "each pair has a canvas");
        let own: Vec<usize> = (0..b).filter(|&pair| batch.same_canvas[pair] == pair).collect();
        if own.len() == b {
            return self.network.first(batch.canvases.clone());
        }
        let chosen = |places: &[usize]| {
            let places: Vec<i64> = places.iter().map(|&place| place as i64).collect();
            let count = places.len();
            Tensor::<1, Int>::from_data(TensorData::new(places, [count]), &batch.canvases.device())
        };
        let first = self.network.first(batch.canvases.clone().select(0, chosen(&own)));
        let place = |canvas: &usize| own.binary_search(canvas).expect("a canvas is that of its first pair");
        first.select(0, chosen(&batch.same_canvas.iter().map(place).collect::<Vec<_>>()))
    }

    pub(super) fn losses_of_batch(&self, batch: &Batch, truths: &[SampleTruth], criterion: &Criterion) -> Losses {
        let [b, _, height, width] = batch.canvases.dims();
        assert_eq!((batch.len(), truths.len()), (b, b), "one content and one truth for each canvas");
        let length = self.config.text_len;
        let device = batch.canvases.device();
        let lengths: Vec<usize> = batch.lengths.iter().map(|&real| real.clamp(1, length)).collect();
        let valid = valid(&lengths, length, &device);
        let ids = filled_up(batch.ids.clone(), length);
        let (tokens, erased) = if criterion.learns_aside() {
            // A phrase of which nothing is erased stands for itself. Both go through BERT together, with gradients.
            let erased = batch.erased.clone().map_or_else(|| ids.clone(), |ids| filled_up(ids, length));
            let ids = Tensor::cat(vec![ids, erased], 0);
            let tokens = self.embed(ids, Tensor::cat(vec![valid.clone(), valid.clone()], 0));
            (tokens.clone().narrow(0, 0, b), Some(tokens.narrow(0, b, b)))
        } else {
            (self.embed(ids, valid.clone()), None)
        };
        let language = Language { tokens, valid: valid.clone() };
        let first = self.first_of(batch);
        let output = self.network.forward(first, &language, erased, [height, width], &mut Observer::none());
        let targets = Targets::new(truths, [height, width], &device);
        let mut losses = self.network.losses(&output, valid, &targets, criterion);
        if criterion.named > 0.0 {
            let auxiliary =
                self.aux.as_ref().expect("`for_training` gave the model the heads that its criterion asks for");
            auxiliary.add_losses(&mut losses, &output.decoded.maps, truths, criterion);
        }
        losses
    }
}

/// Maps moved by so many pixels to the right and down; what comes in is as the pixel at the edge.
///
/// # Shapes
/// - `maps` `[B, C, H, W]`, returned with the same shape
fn moved(maps: Tensor<4>, by: [i64; 2]) -> Tensor<4> {
    let along = |maps: Tensor<4>, dim: usize, by: i64| {
        if by == 0 {
            return maps;
        }
        let side = maps.dims()[dim];
        let from: Vec<i64> = (0..side as i64).map(|place| (place - by).clamp(0, side as i64 - 1)).collect();
        let from = Tensor::<1, Int>::from_data(TensorData::new(from, [side]), &maps.device());
        maps.select(dim, from)
    };
    along(along(maps, 3, by[0]), 2, by[1])
}

/// `[B, length]`, ones for the real tokens.
fn valid(lengths: &[usize], length: usize, device: &burn::tensor::Device) -> Tensor<2> {
    let row = |&real: &usize| (0..length).map(move |index| f32::from(u8::from(index < real)));
    let values: Vec<f32> = lengths.iter().flat_map(row).collect();
    Tensor::from_data(TensorData::new(values, [lengths.len(), length]), device)
}

/// Cut or filled up with 0 to `[B, length]`.
fn filled_up(ids: Tensor<2, Int>, length: usize) -> Tensor<2, Int> {
    let [b, l] = ids.dims();
    match l.cmp(&length) {
        std::cmp::Ordering::Equal => ids,
        std::cmp::Ordering::Greater => ids.narrow(1, 0, length),
        std::cmp::Ordering::Less => {
            let zeros = Tensor::zeros([b, length - l], &ids.device());
            Tensor::cat(vec![ids, zeros], 1)
        }
    }
}

/// The box around everything that is likelier target than not, if there is such a pixel.
fn answer(mask: MaskLogits, present: Option<f32>, flops: u64) -> Grounded {
    let no_target = 1.0 / (1.0 + present.unwrap_or_else(|| mask.highest()).exp());
    let (height, width) = (mask.height as f64, mask.width as f64);
    let bounds = mask.bounds();
    let target = bounds.map(|[top, left, bottom, right]| {
        let [x0, x1] = [left as f64 / width, right as f64 / width];
        let [y0, y1] = [top as f64 / height, bottom as f64 / height];
        let bbox = BoxCxcywh::new((x0 + x1) / 2.0, (y0 + y1) / 2.0, x1 - x0, y1 - y0);
        GroundedTarget { bbox, score: 1.0 - no_target }
    });
    Grounded {
        targets: target.into_iter().collect(),
        no_target: Some(no_target),
        mask: Some(mask),
        flops,
        dense_flops: flops,
        levels: Vec::new(),
        trace: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_found_where_no_pixel_is_likely() {
        let mask = |logits: [f32; 6]| MaskLogits { height: 2, width: 3, logits: logits.to_vec() };
        let none = answer(mask([-2.0, -1.0, 0.0, -3.0, -1.5, -9.0]), None, 7);
        assert!(none.targets.is_empty() && none.no_target == Some(0.5), "a tie is background");
        let said = answer(mask([-2.0, 3.0, -1.0, -3.0, 1.0, -9.0]), Some(-1.0), 7);
        assert!((said.no_target.unwrap() - 0.731_058_6).abs() < 1e-6, "what is said outweighs the likeliest pixel");
        let some = answer(mask([-2.0, 3.0, -1.0, -3.0, 1.0, -9.0]), None, 7);
        let [target] = &some.targets[..] else { panic!("one box") };
        assert_eq!(target.bbox.to_array(), [0.5, 0.5, 1.0 / 3.0, 1.0]);
        let score = 1.0 / (1.0 + (-3.0f32).exp());
        assert!((target.score - score).abs() < 1e-6 && (some.no_target.unwrap() - 1.0 + score).abs() < 1e-6);
    }
}
