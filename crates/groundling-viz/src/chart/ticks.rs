//! Where ticks go and what they say.
//!
//! Steps are 1, 2 or 5 times a power of ten ("nice numbers", after P. Heckbert, Graphics Gems, 1990).

/// A mark on an axis.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tick {
    pub(crate) value: f64,
    pub(crate) label: String,
}

/// At most about `most` (at least 2) evenly spaced ticks inside `[low, high]`; none if that is no range.
pub(crate) fn linear(low: f64, high: f64, most: usize) -> Vec<Tick> {
    let span = high - low;
    if !(span.is_finite() && span > 0.0) {
        return Vec::new();
    }
    let intervals = most.saturating_sub(1).max(1) as f64;
    let inside = |step: f64| (high / step + 1e-9).floor() - (low / step - 1e-9).ceil() + 1.0;
    // A lone tick tells no scale: then rather a few more than asked for.
    let steps = [intervals, intervals * 2.0, intervals * 4.0].map(|intervals| nice_step(span / intervals));
    let step = steps.into_iter().find(|step| inside(*step) >= 2.0).unwrap_or(steps[2]);
    let first = (low / step - 1e-9).ceil();
    let count = ((high / step + 1e-9).floor() - first).clamp(0.0, 2.0 * most as f64 + 2.0) as usize;
    let values: Vec<f64> = (0..=count).map(|i| (first + i as f64) * step).collect();
    let largest = values.iter().fold(0f64, |largest, value| largest.max(value.abs()));
    values.into_iter().map(|value| Tick { value, label: label(value, step, largest) }).collect()
}

/// Ticks at powers of ten inside `[low, high]`, with 2 and 5 times them where there is room; evenly spaced ones where
/// the range holds fewer than two of these. None if that is no positive range.
pub(crate) fn log(low: f64, high: f64, most: usize) -> Vec<Tick> {
    if !(low > 0.0 && high > low && high.is_finite()) {
        return Vec::new();
    }
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let within = |value: &f64| (low * (1.0 - 1e-9)..=high * (1.0 + 1e-9)).contains(value);
    let ticks = |factors: &[f64], stride: usize| -> Vec<f64> {
        let powers = (first..=last).step_by(stride).map(|exponent| 10f64.powi(exponent));
        powers.flat_map(|power| factors.iter().map(move |factor| factor * power)).filter(within).collect()
    };
    let stride = ((last - first) as usize).div_ceil(most.max(1)).max(1);
    let values = [ticks(&[1.0, 2.0, 5.0], 1), ticks(&[1.0], stride)].into_iter().find(|ticks| ticks.len() <= most);
    match values {
        Some(values) if values.len() >= 2 => {
            values.into_iter().map(|value| Tick { value, label: compact(value) }).collect()
        }
        _ => linear(low, high, most),
    }
}

/// The smallest of 1, 2, 5 and 10 times a power of ten that is not below `rough` (positive).
fn nice_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor()).max(f64::MIN_POSITIVE);
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= rough * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

/// A tick's number with as many digits as its step needs; thousands, millions and billions shortened.
fn label(value: f64, step: f64, largest: f64) -> String {
    let (unit, suffix) = unit_of(largest);
    let plain = (1e-5..1e15).contains(&step) && largest < 1e15;
    if !plain {
        let digits = (largest.log10().floor() - step.log10().floor()).clamp(0.0, 16.0) as usize;
        let text = if value == 0.0 { "0".to_owned() } else { format!("{value:.digits$e}") };
        return with_minus(&text);
    }
    let decimals = (-(step / unit).log10() - 1e-9).ceil().clamp(0.0, 12.0) as usize;
    let suffix = if value == 0.0 { "" } else { suffix };
    let value = if value == 0.0 { 0.0 } else { value / unit };
    with_minus(&format!("{value:.*}{suffix}", if suffix.is_empty() && unit > 1.0 { 0 } else { decimals }))
}

/// A number on its own, to three significant digits: `0.05`, `512`, `12.3k`, `1e-7`.
pub(crate) fn compact(value: f64) -> String {
    if !value.is_finite() {
        return "?".to_owned();
    }
    let size = value.abs();
    if value != 0.0 && !(1e-4..1e12).contains(&size) {
        let text = format!("{value:.2e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        return with_minus(&format!("{}e{exponent}", without_zeros(mantissa)));
    }
    let (unit, suffix) = if size >= 1e4 { unit_of(size.max(1e5)) } else { (1.0, "") };
    let (unit, suffix) = if (1e4..1e6).contains(&size) { (1e3, "k") } else { (unit, suffix) };
    let shown = size / unit;
    let decimals = if shown >= 100.0 || value == 0.0 { 0.0 } else { (2.0 - shown.log10().floor()).clamp(0.0, 6.0) };
    let text = format!("{:.*}", decimals as usize, value / unit);
    with_minus(&format!("{}{suffix}", without_zeros(&text)))
}

/// Numbers side by side: the same decimals for all where they are of everyday size, else each on its own.
pub(crate) fn alike(values: &[f64]) -> Vec<String> {
    let largest = values.iter().fold(0f64, |largest, value| largest.max(value.abs()));
    if !(0.01..1e4).contains(&largest) {
        return values.iter().map(|value| compact(*value)).collect();
    }
    let decimals = (2.0 - largest.log10().floor()).clamp(0.0, 3.0) as usize;
    values.iter().map(|value| with_minus(&format!("{value:.decimals$}"))).collect()
}

fn unit_of(largest: f64) -> (f64, &'static str) {
    match largest {
        size if size >= 1e9 => (1e9, "B"),
        size if size >= 1e6 => (1e6, "M"),
        size if size >= 1e5 => (1e3, "k"),
        _ => (1.0, ""),
    }
}

fn without_zeros(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

/// A real minus sign, as wide as the digits.
fn with_minus(number: &str) -> String {
    number.replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn known_ranges_have_the_ticks_people_expect() {
        assert_eq!(labels(&linear(0.0, 1.0, 6)), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&linear(-3.0, 12.0, 5)), ["0", "5", "10"]);
        assert_eq!(labels(&linear(-0.04, 0.04, 5)), ["−0.04", "−0.02", "0.00", "0.02", "0.04"]);
        assert_eq!(labels(&linear(0.0, 200_000.0, 5)), ["0", "50k", "100k", "150k", "200k"]);
        assert_eq!(labels(&linear(-0.01, 0.9, 2)), ["0.0", "0.5"]);
        assert_eq!(labels(&linear(0.0, 3e-7, 4)), ["0", "1e−7", "2e−7", "3e−7"]);
        assert_eq!(labels(&log(0.001, 1000.0, 8)), ["0.001", "0.01", "0.1", "1", "10", "100", "1000"]);
        assert_eq!(labels(&log(8.0, 120.0, 8)), ["10", "20", "50", "100"]);
        assert_eq!(labels(&log(1e-12, 1e12, 5)).len(), 5);
        assert_eq!(labels(&log(3.0, 4.0, 5)), ["3.0", "3.5", "4.0"]);
    }

    #[test]
    fn ticks_are_inside_increasing_few_and_distinct() {
        for (low, high) in [(0.0, 1e-300), (1e15, 1e15 + 8.0), (-1e299, 1e299), (0.1, 0.1 + 1e-9), (3.0, 1e5)] {
            for most in [0, 2, 5, 11] {
                for ticks in [linear(low, high, most), log(low, high, most)] {
                    let room = (high - low) * 1e-6;
                    assert!(ticks.len() <= most.max(2) + 2, "{low} {high} {most} {ticks:?}");
                    assert!(ticks.iter().all(|t| t.value >= low - room && t.value <= high + room), "{ticks:?}");
                    let texts = labels(&ticks);
                    assert!(texts.windows(2).all(|pair| pair[0] != pair[1]), "{texts:?}");
                }
            }
        }
        assert!(linear(f64::NAN, 1.0, 5).is_empty() && linear(2.0, 1.0, 5).is_empty() && log(0.0, 1.0, 5).is_empty());
    }

    #[test]
    fn numbers_on_their_own_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.05, "0.05"),
            (0.8714, "0.871"),
            (-2.5, "−2.5"),
            (512.0, "512"),
            (9999.0, "9999"),
            (12_345.0, "12.3k"),
            (200_000.0, "200k"),
            (3.2e6, "3.2M"),
            (1e-7, "1e−7"),
            (f64::NAN, "?"),
        ] {
            assert_eq!(compact(value), text);
        }
        assert_eq!(alike(&[0.81, 0.8272, -0.5]), ["0.810", "0.827", "−0.500"]);
        assert_eq!(alike(&[1200.0, 3.0]), ["1200", "3"]);
        assert_eq!(alike(&[2e5, 3.0]), ["200k", "3"]);
    }
}
