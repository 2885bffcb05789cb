//! Charts as files, and the one that several commands draw.

use std::path::Path;

use anyhow::bail;
use groundling_eval::calibration::{self, Calibration};
use groundling_viz::{Chart, Plot, ReliabilityBin, ReliabilityPlot, write_atomically, write_png};

/// Whether a picture of this name can be written: `true` for SVG, `false` for PNG.
///
/// # Errors
/// If the name has another ending.
pub(super) fn is_svg(path: &Path) -> anyhow::Result<bool> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("svg") => Ok(true),
        Some("png") => Ok(false),
        _ => bail!("{}: expected a name ending in .svg or .png", path.display()),
    }
}

/// Writes a chart in the form that its name asks for.
pub(super) fn write(path: &Path, chart: &Chart) -> anyhow::Result<()> {
    if is_svg(path)? {
        write_atomically(path, chart.to_svg().as_bytes())?;
    } else {
        write_png(path, &chart.to_png(2.0))?;
    }
    Ok(())
}

/// Draws the reliability of a no-target score.
pub(super) fn draw_reliability(path: &Path, calibration: &Calibration) -> anyhow::Result<()> {
    // Bins without a prediction have no mean; they are drawn empty, at their middle.
    let bin = |bin: &calibration::ReliabilityBin| ReliabilityBin {
        lower: bin.low,
        upper: bin.high,
        confidence: bin.mean_score.unwrap_or((bin.low + bin.high) / 2.0),
        accuracy: bin.share.unwrap_or(0.0),
        count: bin.count as u64,
    };
    let bins = calibration.reliability.iter().map(bin).collect();
    let plot = ReliabilityPlot { bins, expected_calibration_error: Some(calibration.ece) };
    let chart = Chart::new("Reliability of the no-target score", Plot::Reliability(plot))
        .labelled("score that nothing fits", "share where nothing fits");
    write(path, &chart)
}
