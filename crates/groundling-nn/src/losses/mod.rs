//! Terms of training objectives, each a function of tensors.
//!
//! A term is returned for each row or element unless it says otherwise: systems differ in what they divide by (boxes of the batch,
//! images, pixels), so the criterion of a system sums, divides and weights. All are differentiable and finite for logits of any size.
//!
//! | function | of | returns |
//! |---|---|---|
//! | [`box_l1`] | paired boxes | each pair |
//! | [`iou`], [`giou`] | paired boxes | each pair (a similarity: the loss is one minus it) |
//! | [`binary_cross_entropy`] | logits | each element |
//! | [`sigmoid_focal`] | logits | each element |
//! | [`two_class_cross_entropy`] | maps of two logits | weighted mean |
//! | [`dice`] | masks | each mask |
//! | [`paired_contrast`] | two embeddings of each sample | mean over the batch |
//! | [`masked_cosine`] | two token sequences | mean over the batch |

mod boxes;
mod classes;
mod embeddings;

pub use boxes::{Denominator, box_l1, corners, giou, iou};
pub use classes::{FocalLoss, binary_cross_entropy, dice, sigmoid_focal, two_class_cross_entropy};
pub use embeddings::{masked_cosine, paired_contrast};
