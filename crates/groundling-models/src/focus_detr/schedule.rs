//! Learning rates of the published runs.

/// A factor of the learning rate that falls in steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Steps of the whole run, 16 images each.
    pub iterations: u64,
    /// From which step on it is which factor, ascending.
    pub steps: Vec<(u64, f64)>,
    /// Steps over which it rises from a thousandth.
    pub warm_up: u64,
}

/// Factor of the first step of a warm-up.
const FIRST: f64 = 0.001;

impl Schedule {
    fn new(iterations: u64, steps: &[(u64, f64)]) -> Self {
        Self { iterations, steps: steps.to_vec(), warm_up: 0 }
    }

    /// 12 epochs, a tenth in the last.
    pub fn epochs_12() -> Self {
        Self::new(90_000, &[(82_500, 0.1)])
    }

    /// 24 epochs, a tenth from the 20th.
    pub fn epochs_24() -> Self {
        Self::new(180_000, &[(150_000, 0.1)])
    }

    /// 36 epochs with ResNet-50, a tenth from the 20th.
    pub fn epochs_36_r50() -> Self {
        Self::new(270_000, &[(150_000, 0.1)])
    }

    /// 36 epochs with Swin, a tenth from the 30th.
    pub fn epochs_36_swin() -> Self {
        Self::new(270_000, &[(225_000, 0.1)])
    }

    /// 36 epochs with ResNet-101: a warm-up and two steps.
    pub fn epochs_36_r101() -> Self {
        Self { warm_up: 1000, ..Self::new(270_000, &[(210_000, 0.1), (250_000, 0.01)]) }
    }

    /// 50 epochs of the Deformable DETR baseline, a tenth from the 40th.
    pub fn epochs_50() -> Self {
        Self::new(375_000, &[(300_000, 0.1)])
    }

    /// What the learning rate is multiplied with in a step, from 0.
    pub fn factor(&self, step: u64) -> f64 {
        let fallen = self.steps.iter().rev().find(|(from, _)| step >= *from).map_or(1.0, |(_, factor)| *factor);
        if step >= self.warm_up {
            return fallen;
        }
        let done = step as f64 / self.warm_up as f64;
        fallen * (FIRST * (1.0 - done) + done)
    }
}
