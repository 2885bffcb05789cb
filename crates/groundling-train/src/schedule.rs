//! Learning rates as a pure function of the step.

use std::f64::consts::PI;

use crate::recipe::{ScheduleSection, Shape};

/// The factor of the learning rate in a step, counted from 0, of `steps`: rises linearly over the warm-up, then falls to the floor.
///
/// The first step already moves (`1 / warm-up steps`), and the last one still does, however little.
pub fn rate_factor(schedule: &ScheduleSection, step: u64, steps: u64) -> f64 {
    let warmup = warmup_steps(schedule, steps);
    if step < warmup {
        return (step + 1) as f64 / warmup as f64;
    }
    let rest = (steps - warmup.min(steps)).max(1);
    let done = ((step - warmup) as f64 / rest as f64).min(1.0);
    let fallen = match schedule.shape {
        Shape::Constant => return 1.0,
        Shape::Linear => 1.0 - done,
        Shape::Poly => (1.0 - done).powf(0.9),
        Shape::Cosine => 0.5 * (1.0 + (PI * done).cos()),
        Shape::Step => {
            // Milestones are shares of the whole run, its warm-up counted.
            let share = step as f64 / steps.max(1) as f64;
            0.1f64.powi(schedule.milestones.iter().filter(|&&milestone| share >= milestone).count() as i32)
        }
    };
    schedule.floor + (1.0 - schedule.floor) * fallen
}

/// Steps of the warm-up.
pub fn warmup_steps(schedule: &ScheduleSection, steps: u64) -> u64 {
    (schedule.warmup * steps as f64).round() as u64
}

/// Steps of a run: as stated, or as many as the passes over `samples` take.
pub fn total_steps(schedule: &ScheduleSection, samples: u64) -> u64 {
    let of_step = (schedule.batch * schedule.accumulation) as f64;
    match (schedule.steps, schedule.epochs) {
        (Some(steps), _) => steps,
        (None, Some(epochs)) => ((epochs * samples as f64 / of_step).ceil() as u64).max(1),
        (None, None) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(shape: Shape, floor: f64) -> Vec<f64> {
        let schedule = ScheduleSection { warmup: 0.2, shape, floor, ..ScheduleSection::default() };
        (0..10).map(|step| rate_factor(&schedule, step, 10)).collect()
    }

    #[test]
    fn rates_rise_and_fall() {
        let linear = [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125];
        assert_eq!(factors(Shape::Linear, 0.0), linear);
        assert_eq!(factors(Shape::Constant, 0.0)[2..], [1.0; 8]);
        let cosine = factors(Shape::Cosine, 0.1);
        // Half way down: the mean of highest and floor.
        assert!((cosine[6] - 0.55).abs() < 1e-12, "{cosine:?}");
        assert!(cosine[2..].windows(2).all(|pair| pair[0] > pair[1]) && cosine[9] > 0.1, "{cosine:?}");
        // 0.5^0.9 and 0.125^0.9.
        let poly = factors(Shape::Poly, 0.0);
        assert!((poly[6] - 0.535_886_731).abs() < 1e-9 && (poly[9] - 0.153_893_052).abs() < 1e-9, "{poly:?}");
        assert!((factors(Shape::Linear, 0.5)[6] - 0.75).abs() < 1e-12);
    }

    #[test]
    fn rates_fall_in_steps() {
        let milestones = vec![0.5, 0.9];
        let schedule = ScheduleSection { warmup: 0.0, shape: Shape::Step, milestones, ..ScheduleSection::default() };
        let factors: Vec<f64> = (0..10).map(|step| rate_factor(&schedule, step, 10)).collect();
        let expected = [1.0, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1, 0.01];
        assert!(factors.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{factors:?}");
    }

    #[test]
    fn extremes_are_finite() {
        for warmup in [0.0, 1.0] {
            let schedule = ScheduleSection { warmup, ..ScheduleSection::default() };
            for (step, steps) in [(0, 1), (0, 3), (2, 3), (5, 3)] {
                let factor = rate_factor(&schedule, step, steps);
                assert!((0.0..=2.0).contains(&factor), "{warmup} {step} {steps}: {factor}");
            }
        }
    }

    #[test]
    fn epochs_become_steps() {
        let epochs = ScheduleSection { epochs: Some(2.0), batch: 8, accumulation: 2, ..ScheduleSection::default() };
        assert_eq!((total_steps(&epochs, 100), total_steps(&epochs, 96), total_steps(&epochs, 0)), (13, 12, 1));
    }
}
