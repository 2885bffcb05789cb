//! Progress on stderr, for work that takes a while.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar with rate and remaining time; hidden when asked to be quiet or when stderr is no terminal.
pub(crate) fn bar(quiet: bool, length: u64, what: &str) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(5));
    if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len}  {per_sec}  {eta} left") {
        bar.set_style(style);
    }
    bar.set_prefix(what.to_owned());
    bar
}
