//! Attention of the answering token as probabilities.

use burn::tensor::{Bool, Device, Tensor, TensorData};

use super::{Attended, Domain};

/// Attention in `layers` layers of `B` samples, and how much of it lies inside the box.
///
/// Heads are averaged before the softmax. Logarithms are differences of log-sum-exps over sets that are never empty, so everything is finite
/// for finite logits of any size. What hidden tokens hold, NaN included, changes neither value nor gradient.
#[derive(Debug, Clone)]
pub struct Maps {
    /// Logarithm of the attention inside the box, `[layers, B]`.
    pub log_inside: Tensor<2>,
    /// Logarithm of one minus the attention to visual tokens outside, `[layers, B]`.
    pub log_not_outside: Tensor<2>,
    /// Mean logits, 0 where hidden, `[layers, B, S]`.
    logits: Tensor<3>,
    /// `[layers, B, 1]`.
    total: Tensor<3>,
    /// Over visual tokens alone, `[layers, B, 1]`.
    visual_total: Tensor<3>,
    /// `[layers, B, S]`.
    hidden: Tensor<3, Bool>,
}

impl Maps {
    /// `inside` `[B * S]` are the cells of each sample's box. A sample without any counts as without attention: the caller leaves it out.
    ///
    /// # Panics
    /// If sizes disagree.
    pub fn new(attended: &Attended, inside: &[bool], domain: Domain) -> Self {
        let device = attended.logits.device();
        let [layers, b, _, s] = attended.logits.dims();
        assert_eq!((inside.len(), attended.padding.len()), (b * s, b * s), "a value for each token");
        let dead: Vec<bool> = inside.chunks(s).map(|row| !row.contains(&true)).collect();
        let spread = |values: &[bool], keep_dead: bool| -> Vec<bool> {
            values.iter().enumerate().map(|(index, &value)| if dead[index / s] { keep_dead } else { value }).collect()
        };
        // Where nothing is inside, all is: finite numbers that nobody reads.
        let hidden = mask3(&spread(&attended.padding, false), [b, s], layers, &device);
        let outside: Vec<bool> = inside.iter().map(|inside| !inside).collect();
        let outside = mask3(&spread(&outside, false), [b, s], layers, &device);
        let padding = mask3(&attended.padding, [b, s], layers, &device);
        let mean = |logits: Tensor<4>| logits.mean_dim(2).squeeze_dim::<3>(2);
        let logits = mean(attended.logits.clone()).mask_fill(padding, 0.0);

        let other = match (domain, &attended.other) {
            (Domain::AllKeys, Some(other)) => {
                let x = other.dims()[3];
                let padding = mask3(&attended.other_padding, [b, x], layers, &device);
                Some((mean(other.clone()).mask_fill(padding.clone(), 0.0), padding))
            }
            _ => None,
        };
        let with_other = |hidden: &Tensor<3, Bool>| match &other {
            None => log_sum_exp(logits.clone(), hidden.clone()),
            Some((other, other_hidden)) => log_sum_exp(
                Tensor::cat(vec![logits.clone(), other.clone()], 2),
                Tensor::cat(vec![hidden.clone(), other_hidden.clone()], 2),
            ),
        };
        let visual_total = log_sum_exp(logits.clone(), hidden.clone());
        let total = with_other(&hidden);
        let log_inside = log_sum_exp(logits.clone(), outside.clone()) - total.clone();
        let log_not_outside = match &other {
            None => log_inside.clone(),
            Some(_) => with_other(&outside) - total.clone(),
        };
        Self {
            log_inside: log_inside.squeeze_dim(2),
            log_not_outside: log_not_outside.squeeze_dim(2),
            logits,
            total,
            visual_total,
            hidden,
        }
    }

    /// The attention itself, `[layers, B, S]`, 0 where hidden.
    pub fn attention(&self) -> Tensor<3> {
        (self.logits.clone() - self.total.clone()).exp().mask_fill(self.hidden.clone(), 0.0)
    }

    /// Distance of the attention from a teacher's over visual tokens, `KL(teacher || this)`, `[layers, B]`. No gradient reaches the teacher.
    ///
    /// # Panics
    /// If the teacher's maps are of other sizes.
    pub fn distance(&self, teacher: &Self) -> Tensor<2> {
        let log = |maps: &Self| (maps.logits.clone() - maps.visual_total.clone()).mask_fill(self.hidden.clone(), 0.0);
        let teacher = log(teacher).detach();
        let weights = teacher.clone().exp().mask_fill(self.hidden.clone(), 0.0);
        (weights * (teacher - log(self))).sum_dim(2).squeeze_dim(2)
    }
}

/// A mask `[B * S]` for every layer.
fn mask3(values: &[bool], [b, s]: [usize; 2], layers: usize, device: &Device) -> Tensor<3, Bool> {
    Tensor::<3, Bool>::from_data(TensorData::new(values.to_vec(), [1, b, s]), device).expand([layers, b, s])
}

/// Over the last axis, of what is not hidden; `[.., 1]`. Every row needs something that is not.
fn log_sum_exp(x: Tensor<3>, hidden: Tensor<3, Bool>) -> Tensor<3> {
    let x = x.mask_fill(hidden, f32::NEG_INFINITY);
    // The largest of this very set: the sum is then at least 1.
    let most = x.clone().detach().max_dim(2);
    (x - most.clone()).exp().sum_dim(2).log() + most
}
