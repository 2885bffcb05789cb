//! What tests of runs share.

use std::path::Path;

use groundling_train::run::{Control, Event, Observer};
use groundling_train::state::{STATE_FILE, State};

/// Ends a run at a step.
pub(crate) struct StopAt(pub(crate) u64);

impl<F> Observer<F> for StopAt {
    fn notice(&mut self, event: Event<'_, F>) -> Control {
        match event {
            Event::Step { step, .. } if step == self.0 => Control::Stop,
            _ => Control::Continue,
        }
    }
}

/// The state of a run without its clocks.
pub(crate) fn state(folder: &Path) -> State {
    let mut state = State::read(&folder.join(STATE_FILE)).unwrap();
    (state.progress.wall_secs, state.progress.cpu_secs) = (0.0, 0.0);
    state
}
