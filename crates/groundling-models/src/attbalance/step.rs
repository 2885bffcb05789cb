//! The losses of a step of training.

use burn::tensor::{Device, Tensor, TensorData, activation};
use groundling_core::{BoxCxcywh, BoxXyxy, Unit};
use groundling_nn::losses::{Denominator, box_l1, giou};

use super::{AttBalance, Attended, BoxRatio, Maps, Rho, box_mask};
use crate::contract::SampleTruth;

/// A rank correlation of two lists; `None` if there is none.
pub type Correlate<'a> = &'a dyn Fn(&[f64], &[f64]) -> Option<f64>;

/// Correlations smoothed over iterations, for [`Rho::Ema`]; part of the state of training.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Smoothed(pub Option<Vec<f64>>);

/// A step: what was computed, and what should have been.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    /// Of the model.
    pub attended: &'a Attended,
    /// Of the teacher, on the same batch and layers. Without one there is no distance from it.
    pub teacher: Option<&'a Attended>,
    /// One for each sample. Those without a box count nowhere.
    pub truths: &'a [SampleTruth],
    /// Share of the canvas that each picture covers, see [`content_shares`](super::content_shares).
    pub content_shares: &'a [f64],
    /// The system's own weights of L1 distance and one minus GIoU.
    pub box_weights: [f64; 2],
    /// Spearman's.
    pub correlate: Correlate<'a>,
}

/// The losses of a step and what they are made of. `[B]` are samples, `[layers, B]` supervised layers of them.
#[derive(Debug, Clone)]
pub struct Balanced {
    /// What is differentiated, `[1]`.
    pub total: Tensor<1>,
    /// Attention, from which everything else is computed.
    pub maps: Maps,
    /// What draws attention into the box, `[layers, B]`.
    pub rac: Tensor<2>,
    /// What keeps it near the teacher's, `[layers, B]`; zeros without a teacher.
    pub mrc: Tensor<2>,
    /// IoU of the answer with the truth, `[B]`; 0 without one.
    pub iou: Vec<f64>,
    /// Correlation of attention inside the box with IoU, one for each layer.
    pub rho: Vec<f64>,
    /// Weights of the layers.
    pub layer_weights: Vec<f64>,
    /// The first constraint, `[B]`.
    pub l_rac: Tensor<1>,
    /// The second, `[B]`.
    pub l_mrc: Tensor<1>,
    /// Those in use together, `[B]`.
    pub l_ar: Tensor<1>,
    /// Weight by attention, `[B]`, 1 to 1.5 while layers weigh nothing negative.
    pub attention_weight: Tensor<1>,
    /// Weight by the size of the box, `[B]`, 1 to 1.2311.
    pub size_weight: Tensor<1>,
    /// L1 distance of the boxes, summed over stages, `[B]`.
    pub l1: Tensor<1>,
    /// One minus their GIoU, summed over stages, `[B]`.
    pub l_giou: Tensor<1>,
}

/// Correlations as weights of layers, whose sum is the number of layers: `rho - mean + 1`.
pub fn relative(rho: &[f64]) -> Vec<f64> {
    let mean = rho.iter().sum::<f64>() / rho.len().max(1) as f64;
    rho.iter().map(|rho| rho - mean + 1.0).collect()
}

impl Step<'_> {
    /// The losses.
    ///
    /// # Panics
    /// If sizes disagree.
    pub fn losses(&self, config: &AttBalance, smoothed: &mut Smoothed) -> Balanced {
        let ([layers, b, _, s], device) = (self.attended.logits.dims(), self.attended.logits.device());
        assert_eq!((self.truths.len(), self.content_shares.len()), (b, b), "a truth and a share for each sample");
        let inside = self.inside(config, s);
        let lives: Vec<bool> = inside.chunks(s).map(|row| row.contains(&true)).collect();
        let alive = vector(lives.iter().map(|&lives| f32::from(u8::from(lives))), &device);
        let rows = alive.clone().unsqueeze_dim::<2>(0);

        let maps = Maps::new(self.attended, &inside, config.domain);
        let rac = (maps.log_inside.clone() + maps.log_not_outside.clone()).neg() * rows.clone();
        let mrc = match self.teacher {
            Some(teacher) => {
                let distance = maps.distance(&Maps::new(teacher, &inside, config.domain)) * rows;
                if config.mrc_mean { distance / self.seen(s, &device).unsqueeze_dim::<2>(0) } else { distance }
            }
            None => Tensor::zeros([layers, b], &device),
        };
        let iou = self.iou();
        let rho = self.rho(config, &maps, &iou, &lives, smoothed);
        let layer_weights = match &config.rho {
            Rho::Off => vec![1.0; layers],
            _ => relative(&rho),
        };
        let layer_weights: Vec<f64> = layer_weights
            .into_iter()
            .map(|weight| config.rho_floor.map_or(weight, |floor| weight.max(floor)))
            .collect();
        let weights = vector(layer_weights.iter().map(|&weight| weight as f32), &device);
        let over_layers = |values: Tensor<2>| -> Tensor<1> { values.sum_dim(0).squeeze_dim(0) };
        let l_rac = over_layers(rac.clone() * weights.unsqueeze_dim::<2>(1));
        let l_mrc = over_layers(mrc.clone());
        let mut l_ar = Tensor::zeros([b], &device);
        if config.use_rac {
            l_ar = l_ar + l_rac.clone();
        }
        if config.use_mrc {
            l_ar = l_ar + l_mrc.clone();
        }

        let difficulty = if config.difficulty_gradient { l_ar.clone() } else { l_ar.clone().detach() };
        let attention_weight = activation::sigmoid(difficulty).add_scalar(0.5);
        let size_weight = self.size_weight(config, &device);
        let (l1, l_giou, boxed) = self.box_losses(config.every_stage);
        let [alpha_1, alpha_g] =
            [config.alpha_1.unwrap_or(self.box_weights[0]), config.alpha_g.unwrap_or(self.box_weights[1])];
        let mut box_loss = l1.clone() * alpha_1 + l_giou.clone() * alpha_g;
        if config.use_dat {
            box_loss = box_loss * attention_weight.clone() * size_weight.clone();
        }
        let mut loss = box_loss;
        if config.use_rac || config.use_mrc {
            loss = loss + l_ar.clone() * config.alpha_ar;
        }
        let count = self.truths.iter().filter(|truth| truth.bbox.is_some()).count().max(1);
        let total = (loss * boxed).sum() / count as f64;
        Balanced {
            total,
            maps,
            rac,
            mrc,
            iou,
            rho,
            layer_weights,
            l_rac,
            l_mrc,
            l_ar,
            attention_weight,
            size_weight,
            l1,
            l_giou,
        }
    }

    /// Cells of the boxes on all maps, `[B * S]`.
    fn inside(&self, config: &AttBalance, s: usize) -> Vec<bool> {
        let of_sample = |sample: usize| {
            let padding = &self.attended.padding[sample * s..(sample + 1) * s];
            let mut start = 0;
            let mut mask = Vec::with_capacity(s);
            for (scale, &grid) in self.attended.grids.iter().enumerate() {
                let cells = grid[0] * grid[1];
                let padding = &padding[start..start + cells];
                start += cells;
                match self.truths[sample].bbox {
                    Some(bbox) if scale == 0 || config.mask_every_scale => {
                        mask.extend(box_mask(bbox, grid, Some(padding), config.mask_rule));
                    }
                    _ => mask.extend(std::iter::repeat_n(false, cells)),
                }
            }
            assert_eq!(mask.len(), s, "the maps have as many cells as there are visual tokens");
            mask
        };
        (0..self.truths.len()).flat_map(of_sample).collect()
    }

    /// Visual tokens of each sample that are not hidden, at least 1.
    fn seen(&self, s: usize, device: &Device) -> Tensor<1> {
        let rows = self.attended.padding.chunks(s);
        vector(rows.map(|row| row.iter().filter(|&&hidden| !hidden).count().max(1) as f32), device)
    }

    /// IoU of the last stage with the truth as TransVG evaluates it: the part of the prediction on the canvas.
    fn iou(&self) -> Vec<f64> {
        let [stages, b, _] = self.attended.boxes.dims();
        let last = self.attended.boxes.clone().detach().narrow(0, stages - 1, 1).reshape([b * 4]);
        let values: Vec<f64> = last.into_data().iter::<f32>().map(f64::from).collect();
        let of = |(values, truth): (&[f64], &SampleTruth)| {
            let found = BoxCxcywh::<Unit>::new(values[0], values[1], values[2], values[3]).to_xyxy();
            let [left, top, right, bottom] = found.to_array().map(|corner| corner.clamp(0.0, 1.0));
            truth.bbox.map_or(0.0, |bbox| BoxXyxy::new(left, top, right, bottom).iou(bbox.to_xyxy()))
        };
        values.chunks_exact(4).zip(self.truths).map(of).collect()
    }

    /// Correlations of the layers.
    fn rho(&self, config: &AttBalance, maps: &Maps, iou: &[f64], lives: &[bool], smoothed: &mut Smoothed) -> Vec<f64> {
        if let Rho::Fixed(list) = &config.rho {
            return list.clone();
        }
        // The logarithm has the order of the attention, without the ties of numbers too small to tell apart.
        let values: Vec<f64> = maps.log_inside.clone().detach().into_data().iter::<f32>().map(f64::from).collect();
        let alive = |list: &[f64]| -> Vec<f64> {
            list.iter().zip(lives).filter(|(_, lives)| **lives).map(|(value, _)| *value).collect()
        };
        let quality = alive(iou);
        let measured: Vec<f64> = values
            .chunks(iou.len().max(1))
            .map(|layer| (self.correlate)(&alive(layer), &quality).unwrap_or(0.0))
            .collect();
        if config.rho != Rho::Ema {
            return measured;
        }
        let next = match smoothed.0.take() {
            Some(old) if old.len() == measured.len() => {
                let decay = config.rho_decay;
                old.iter().zip(&measured).map(|(old, new)| decay * old + (1.0 - decay) * new).collect()
            }
            _ => measured,
        };
        smoothed.0 = Some(next.clone());
        next
    }

    fn size_weight(&self, config: &AttBalance, device: &Device) -> Tensor<1> {
        let ratio = |(truth, share): (&SampleTruth, &f64)| {
            let area = truth.bbox.map_or(1.0, |bbox| bbox.width * bbox.height);
            match config.box_ratio {
                BoxRatio::Canvas => area,
                BoxRatio::Content => area / share.max(f64::MIN_POSITIVE),
            }
        };
        let weight = |ratio: f64| (0.5 + 1.0 / (1.0 + (ratio - 1.0).exp())) as f32;
        vector(self.truths.iter().zip(self.content_shares).map(ratio).map(weight), device)
    }

    /// L1 distance and one minus GIoU, summed over stages, `[B]` each, and 1 where there is a box.
    fn box_losses(&self, every_stage: bool) -> (Tensor<1>, Tensor<1>, Tensor<1>) {
        let ([all, b, _], device) = (self.attended.boxes.dims(), self.attended.boxes.device());
        let stages = if every_stage { all } else { 1 };
        let boxes = self.attended.boxes.clone().narrow(0, all - stages, stages).reshape([stages * b, 4]);
        let some = |truth: &SampleTruth| truth.bbox.unwrap_or(BoxCxcywh::new(0.5, 0.5, 0.5, 0.5));
        let targets: Vec<f32> =
            self.truths.iter().flat_map(|truth| some(truth).to_array()).map(|value| value as f32).collect();
        let targets = Tensor::<3>::from_data(TensorData::new(targets, [1, b, 4]), &device);
        let targets = targets.expand([stages, b, 4]).reshape([stages * b, 4]);
        let over_stages = |values: Tensor<1>| -> Tensor<1> { values.reshape([stages, b]).sum_dim(0).squeeze_dim(0) };
        let l1 = over_stages(box_l1(boxes.clone(), targets.clone()));
        let apart = over_stages(giou(boxes, targets, Denominator::Guarded).neg().add_scalar(1.0));
        let boxed = vector(self.truths.iter().map(|truth| f32::from(u8::from(truth.bbox.is_some()))), &device);
        (l1, apart, boxed)
    }
}

fn vector(values: impl Iterator<Item = f32>, device: &Device) -> Tensor<1> {
    let values: Vec<f32> = values.collect();
    let length = values.len();
    Tensor::from_data(TensorData::new(values, [length]), device)
}
