//! States: whole or refused.

use burn::tensor::Device;
use groundling_models::contract::Trainable;
use groundling_nn::checkpoint::absent;
use groundling_testkit::scratch;
use groundling_train::optimizer::Moments;
use groundling_train::state::{Progress, State, StateError};

use crate::toy::{Config, Toy, alone};

fn toy(side: usize) -> Toy {
    let _alone = alone();
    let toy = Toy::init(&Config { side, max_ids: 4 }, &Device::flex()).unwrap();
    groundling_nn::checkpoint::initialise(&toy);
    toy
}

fn state() -> State {
    let mut state = State::new(Progress { step: 7, best: Some((61.25, 4)), ..Progress::default() });
    state.put_module("model", &toy(32));
    state.put_moments("layer.weight", &Moments { first: vec![1.5, -0.0], second: vec![f32::MIN_POSITIVE, 3.0] });
    state
}

#[test]
fn what_is_written_is_read() {
    let path = scratch("train-state").join("state.safetensors");
    let state = state();
    state.write(&path).unwrap();
    let read = State::read(&path).unwrap();
    assert_eq!(read, state);
    assert_eq!(read.moments("layer.weight").unwrap().first[1].to_bits(), (-0.0f32).to_bits());
    assert!(read.moments("layer.bias").is_none());
    let mut again = State::new(state.progress.clone());
    again.put_module("model", &read.get_module("model", toy(32)).unwrap());
    again.put_moments("layer.weight", &read.moments("layer.weight").unwrap());
    assert_eq!(again, state);
    assert!(matches!(read.get_module("ema", toy(32)), Err(StateError::Parameter { .. })));
}

/// What may be lacking keeps its numbers; that something else is missing is an error.
#[test]
fn a_state_may_lack_what_a_rule_names() {
    let nothing = State::new(Progress::default());
    let every = [absent("", "made up for this test")];
    let values = |toy: &Toy| {
        let mut state = State::new(Progress::default());
        state.put_module("model", toy);
        state
    };
    let fresh = toy(32);
    let kept = nothing.get_module_but("model", fresh.clone(), &every).unwrap();
    assert!(values(&kept) == values(&fresh));
    let one = [absent("weight$", "made up for this test")];
    assert!(matches!(nothing.get_module_but("model", fresh.clone(), &one), Err(StateError::Parameter { .. })));
    let whole = state();
    let read = whole.get_module_but("model", fresh, &every).unwrap();
    assert!(values(&read) == values(&whole.get_module("model", toy(32)).unwrap()), "what is there is taken");
    let bad = [absent("(", "no pattern")];
    assert!(matches!(nothing.get_module_but("model", toy(32), &bad), Err(StateError::Rules(_))));
}

#[test]
fn every_cut_is_refused() {
    let path = scratch("train-state-cut").join("state.safetensors");
    state().write(&path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(97) {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(matches!(State::read(&path), Err(StateError::Damaged { .. })), "{length} bytes");
    }
    for (at, value) in [(0, 0xff), (7, 0xff), (9, b'x')] {
        let mut bytes = whole.clone();
        bytes[at] = value;
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(State::read(&path), Err(StateError::Damaged { .. })), "byte {at}");
    }
}

#[test]
fn a_full_disk_leaves_the_old_state() {
    let folder = scratch("train-state-full");
    let path = folder.join("state.safetensors");
    state().write(&path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    // The name that is written first leads to a device that is always full.
    if std::path::Path::new("/dev/full").exists() {
        #[cfg(unix)]
        std::os::unix::fs::symlink("/dev/full", folder.join("state.safetensors.tmp")).unwrap();
        assert!(matches!(state().write(&path), Err(StateError::Io { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }
}
