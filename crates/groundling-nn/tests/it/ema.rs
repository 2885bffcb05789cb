//! Averages of parameters.

use burn::module::{Module, Param, ParamId, RunningState};
use burn::store::ModuleRecord;
use burn::tensor::{Device, Int, Tensor};
use groundling_nn::ema::{Decay, Ema};

use crate::numbers::{list, tracked, uniform};

#[derive(Module, Debug)]
struct Probe {
    trained: Param<Tensor<2>>,
    frozen: Param<Tensor<1>>,
    counts: Param<Tensor<1, Int>>,
    running: RunningState<Tensor<1>>,
}

fn probe(device: &Device) -> Probe {
    Probe {
        trained: Param::from_tensor(uniform("ema.trained", [3, 2], -1.0, 1.0, device)),
        frozen: Param::from_tensor(uniform("ema.frozen", [4], -1.0, 1.0, device)).set_require_grad(false),
        counts: Param::initialized(ParamId::new(), Tensor::from_data([1, 2], device)),
        running: RunningState::new(uniform("ema.running", [2], -1.0, 1.0, device)),
    }
}

fn step(module: Probe, shift: f32) -> Probe {
    module.running.update(module.running.value() + shift);
    Probe {
        trained: module.trained.map(|value| (value + shift).detach().require_grad()),
        frozen: module.frozen.map(|value| value + shift),
        counts: module.counts.map(|value| value + 1),
        running: module.running,
    }
}

#[test]
fn trained_values_are_averaged_and_others_copied() {
    let student = probe(&tracked());
    let mut ema = Ema::new(&student, Decay { rate: 0.75, warm_up: false });
    assert!(!ema.module().trained.val().device().is_autodiff());
    let before = list(student.trained.val());
    let student = step(student, 1.0);
    ema.update(&student);
    for (got, start) in list(ema.module().trained.val()).iter().zip(&before) {
        assert!((got - (start + 0.25)).abs() < 1e-6, "{got} from {start}");
    }
    assert_eq!(list(ema.module().frozen.val()), list(student.frozen.val()));
    assert_eq!(ema.module().counts.val().into_data(), student.counts.val().into_data());
    assert_eq!(list(ema.module().running.value()), list(student.running.value_sync()));
    assert_eq!(
        list(student.trained.val()),
        before.iter().map(|v| v + 1.0).collect::<Vec<_>>(),
        "the module itself is left alone"
    );
}

#[test]
fn what_does_not_change_is_followed_to_the_bit() {
    let student = probe(&tracked());
    let mut ema = Ema::new(&student, Decay { rate: 0.999, warm_up: true });
    for _ in 0..50 {
        ema.update(&student);
    }
    assert_eq!(list(ema.module().trained.val()), list(student.trained.val()));
}

#[test]
fn early_updates_keep_less() {
    let decay = Decay { rate: 0.999, warm_up: true };
    assert_eq!(decay.at(0), 0.1);
    assert_eq!(decay.at(10), 11.0 / 20.0);
    assert_eq!(decay.at(1_000_000), 0.999);
    assert_eq!(Decay { warm_up: false, ..decay }.at(0), 0.999);
}

#[test]
fn going_on_from_a_record_gives_the_same_bits() {
    let decay = Decay { rate: 0.97, warm_up: true };
    let mut student = probe(&tracked());
    let mut ema = Ema::new(&student, decay);
    for _ in 0..3 {
        student = step(student, 0.1);
        ema.update(&student);
    }
    let (average, run) = (ema.module().clone().into_record(), student.clone().into_record());
    let (average, run) = (average.into_bytes().unwrap(), run.into_bytes().unwrap());

    let load = |bytes, device: &Device| probe(device).load_record(ModuleRecord::from_bytes(bytes).unwrap());
    let mut restored = load(run, &tracked());
    let mut resumed = Ema::resume(load(average, &Device::flex()), decay, ema.updates());
    for _ in 0..3 {
        student = step(student, -0.3);
        restored = step(restored, -0.3);
        ema.update(&student);
        resumed.update(&restored);
    }
    assert_eq!(resumed.updates(), 6);
    assert_eq!(list(resumed.module().trained.val()), list(ema.module().trained.val()));
    assert_eq!(list(resumed.module().running.value()), list(ema.module().running.value()));
}
