//! What AttBalance does, and how strongly.

use serde::{Deserialize, Serialize};

use super::MaskRule;
use crate::contract::ConfigError;

/// A section of a recipe. What the paper does not say, or what could not be read of it, is a field whose default is a choice of this project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AttBalance {
    /// Layers that are supervised, from 0; the system's own choice if none is given.
    pub layers: Option<Vec<usize>>,
    /// Keys that the softmax runs over.
    pub domain: Domain,
    /// Which cells belong to a box.
    pub mask_rule: MaskRule,
    /// Whether every map of a model with several gets cells of the box, rather than the finest only.
    pub mask_every_scale: bool,
    /// How layers weigh.
    pub rho: Rho,
    /// Share of the smoothed correlations that an iteration keeps, where they are smoothed.
    pub rho_decay: f64,
    /// Least weight of a layer; `None` leaves weights of layers that disagree negative.
    pub rho_floor: Option<f64>,
    /// Share of the teacher's weights that an update keeps.
    pub momentum: f64,
    /// Whether the teacher runs with dropout and stochastic depth.
    pub teacher_dropout: bool,
    /// Of the attention losses.
    pub alpha_ar: f64,
    /// Of the L1 distance of the boxes; the system's own weight if none is given.
    pub alpha_1: Option<f64>,
    /// Of one minus their GIoU; the system's own weight if none is given.
    pub alpha_g: Option<f64>,
    /// The constraint that puts attention into the box.
    pub use_rac: bool,
    /// The constraint that keeps attention near the teacher's.
    pub use_mrc: bool,
    /// Whether the distance from the teacher is a mean over tokens rather than a sum.
    pub mrc_mean: bool,
    /// Weights of samples by their difficulty.
    pub use_dat: bool,
    /// Whether the weight by attention passes a gradient; otherwise it is a constant.
    pub difficulty_gradient: bool,
    /// What the area of a box is divided by.
    pub box_ratio: BoxRatio,
    /// Whether boxes of all stages are supervised, rather than those of the last.
    pub every_stage: bool,
    /// Epochs with supervision; after them the plain losses. The system's own number if none is given. A part of one is possible: a
    /// generated world is large.
    pub constraint_epochs: Option<f64>,
    /// Whether a step whose total is not finite is left out and counted, rather than an error.
    pub skip_non_finite: bool,
}

/// Keys that the softmax runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Domain {
    /// Visual tokens.
    #[default]
    Visual,
    /// Phrase tokens and the answering one too.
    AllKeys,
}

/// Where the correlation of attention in the box with the quality of the box comes from, by which layers weigh.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rho {
    /// Measured on the batch.
    #[default]
    Batch,
    /// Measured on the batch and smoothed over iterations.
    Ema,
    /// Measured beforehand, one for each supervised layer.
    Fixed(Vec<f64>),
    /// Layers weigh alike.
    Off,
}

/// What the area of a box is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoxRatio {
    /// The area of the canvas.
    #[default]
    Canvas,
    /// The area of the picture on it.
    Content,
}

impl Default for AttBalance {
    fn default() -> Self {
        Self {
            layers: None,
            domain: Domain::Visual,
            mask_rule: MaskRule::Overlap,
            mask_every_scale: true,
            rho: Rho::Batch,
            rho_decay: 0.9,
            rho_floor: None,
            momentum: 0.9,
            teacher_dropout: false,
            alpha_ar: 1.0,
            alpha_1: None,
            alpha_g: None,
            use_rac: true,
            use_mrc: true,
            mrc_mean: false,
            use_dat: true,
            difficulty_gradient: false,
            box_ratio: BoxRatio::Canvas,
            every_stage: true,
            constraint_epochs: None,
            skip_non_finite: true,
        }
    }
}

impl AttBalance {
    /// Whether nothing is left of it: the plain losses.
    pub fn is_off(&self) -> bool {
        !(self.use_rac || self.use_mrc || self.use_dat)
    }

    /// Checks it for a model of so many layers, of which it supervises `layers`.
    ///
    /// # Errors
    /// Naming the first field that cannot be.
    pub fn check(&self, layers: &[usize], of: usize) -> Result<(), ConfigError> {
        let bad =
            |field, found: String, expected: &str| Err(ConfigError { field, found, expected: expected.to_owned() });
        let twice = (1..layers.len()).any(|index| layers[..index].contains(&layers[index]));
        if layers.is_empty() || twice || layers.iter().any(|&layer| layer >= of) {
            let expected = format!("one or more different layers below {of}");
            return Err(ConfigError { field: "layers", found: format!("{layers:?}"), expected });
        }
        if !layers.is_sorted() {
            return bad("layers", format!("{layers:?}"), "an ascending list");
        }
        for (field, share) in [("momentum", self.momentum), ("rho_decay", self.rho_decay)] {
            if !(0.0..=1.0).contains(&share) {
                return bad(field, share.to_string(), "0 to 1");
            }
        }
        for (field, weight) in [("alpha_ar", Some(self.alpha_ar)), ("alpha_1", self.alpha_1), ("alpha_g", self.alpha_g)]
        {
            if weight.is_some_and(|weight| !(weight.is_finite() && weight >= 0.0)) {
                return bad(field, format!("{weight:?}"), "at least 0");
            }
        }
        if self.constraint_epochs.is_some_and(|epochs| !(epochs.is_finite() && epochs >= 0.0)) {
            return bad("constraint_epochs", format!("{:?}", self.constraint_epochs), "at least 0");
        }
        match &self.rho {
            Rho::Fixed(list) if list.len() != layers.len() || list.iter().any(|rho| !(-1.0..=1.0).contains(rho)) => {
                bad("rho", format!("{list:?}"), "a number of -1 to 1 for each supervised layer")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_named() {
        let base = AttBalance::default;
        assert_eq!(base().check(&[2, 3], 4), Ok(()));
        for (config, layers, field) in [
            (base(), vec![], "layers"),
            (base(), vec![4], "layers"),
            (base(), vec![1, 1], "layers"),
            (base(), vec![2, 1], "layers"),
            (AttBalance { momentum: 1.5, ..base() }, vec![1], "momentum"),
            (AttBalance { alpha_g: Some(-1.0), ..base() }, vec![1], "alpha_g"),
            (AttBalance { alpha_ar: f64::NAN, ..base() }, vec![1], "alpha_ar"),
            (AttBalance { constraint_epochs: Some(-1.0), ..base() }, vec![1], "constraint_epochs"),
            (AttBalance { rho: Rho::Fixed(vec![0.5]), ..base() }, vec![1, 2], "rho"),
        ] {
            assert_eq!(config.check(&layers, 4).unwrap_err().field, field);
        }
    }
}
