//! Whole runs of a small system.

use std::path::Path;

use groundling_testkit::scratch;
use groundling_train::evaluate::Evaluation;
use groundling_train::log::{LOG_FILE, read_lines};
use groundling_train::phrases::Phrases;
use groundling_train::run::{self, Job, Observer, Plan, Resume, Silent, Summary, TrainError};
use groundling_train::state::{STATE_FILE, StateError};

use groundling::{Bundle, BundleLimits};

use crate::support::{StopAt, state};
use crate::toy::{Toy, alone, job};

fn train(job: Job<Phrases<Toy>>, observer: &mut dyn Observer<Evaluation>) -> Result<Summary<Evaluation>, TrainError> {
    let _alone = alone();
    run::train(job, observer)
}

fn plan(job: Job<Phrases<Toy>>) -> Result<Plan, TrainError> {
    let _alone = alone();
    run::plan(job)
}

/// The bytes of published weights, whatever their file is called.
fn weights(folder: &Path) -> Vec<u8> {
    let bundle = Bundle::open(folder, &BundleLimits::default()).unwrap();
    bundle.verify().unwrap();
    std::fs::read(folder.join(&bundle.manifest().weights.file)).unwrap()
}

/// What weights say of the data they were trained on.
fn data_hash(out: &Path) -> String {
    let bundle = Bundle::open(out.join("last"), &BundleLimits::default()).unwrap();
    bundle.manifest().training.as_ref().unwrap().data[0].sha256.clone().unwrap()
}

#[test]
fn it_learns_and_writes_what_it_says() {
    let out = scratch("train-learns");
    let summary = train(job(&out, &["schedule.steps=60", "schedule.warmup=0"]), &mut Silent).unwrap();
    assert!(summary.finished && summary.step == 60);
    let steps = read_lines(&out.join(LOG_FILE), "step").unwrap();
    assert_eq!(steps.len(), 12);
    let loss = |line: usize| steps[line]["loss"].as_f64().unwrap();
    assert!(loss(11) < 0.8 * loss(0), "{} {}", loss(0), loss(11));
    for key in ["lr", "grad_norm", "samples_per_sec", "wall_secs", "cpu_secs", "remaining_secs"] {
        assert!(steps[11][key].as_f64().is_some_and(|value| value >= 0.0), "{key}: {}", steps[11]);
    }
    let evaluations = read_lines(&out.join(LOG_FILE), "evaluation").unwrap();
    assert_eq!(evaluations.len(), 8, "every 8 steps, and the last");
    let last = summary.last.unwrap();
    assert_eq!((last.step, last.figures.mean_flops, last.figures.mean_dense_flops), (60, 10.0, 20.0));
    assert_eq!(last.figures.kinds.values().map(|kind| kind.count).sum::<usize>(), last.figures.count);
    let best = evaluations.iter().map(|line| line["acc50"].as_f64().unwrap()).fold(0.0, f64::max);
    assert_eq!(summary.best.unwrap().0, best);
    for folder in ["best", "last"] {
        assert!(weights(&out.join(folder)).len() > 1000, "{folder}");
    }
    let (seen, other) = (data_hash(&out), scratch("train-learns-elsewhere"));
    train(job(&other, &["schedule.steps=1", "data.0.seed=8"]), &mut Silent).unwrap();
    assert!(seen.len() == 64 && seen != data_hash(&other), "{seen}");
    assert!(std::fs::read_to_string(out.join("recipe.toml")).unwrap().contains("steps = 60"));
    assert!(!out.join("state.safetensors.tmp").exists());
}

#[test]
fn interrupted_or_not_is_the_same_to_the_bit() {
    let (whole, parts) = (scratch("train-whole"), scratch("train-parts"));
    train(job(&whole, &[]), &mut Silent).unwrap();
    // Stopped after 7, then killed after 11: the state on the disk is that of step 8.
    let summary = train(job(&parts, &[]), &mut StopAt(7)).unwrap();
    assert!(!summary.finished && summary.step == 7);
    let at_7 = state(&parts);
    let copy = scratch("train-copy");
    let summary = train(job(&parts, &["output.workers=3", "output.log_every=2"]), &mut StopAt(8)).unwrap();
    assert_eq!(summary.plan.done, 7);
    std::fs::copy(parts.join(STATE_FILE), copy.join(STATE_FILE)).unwrap();
    train(job(&parts, &[]), &mut StopAt(11)).unwrap();
    std::fs::copy(copy.join(STATE_FILE), parts.join(STATE_FILE)).unwrap();
    let summary = train(job(&parts, &[]), &mut Silent).unwrap();
    assert_eq!((summary.plan.done, summary.finished), (8, true));
    let (expected, found) = (state(&whole), state(&parts));
    assert_ne!(at_7.progress.step, found.progress.step);
    assert!(expected == found, "weights, moments and average are equal bit for bit");
    assert!(weights(&whole.join("last")) == weights(&parts.join("last")));
    let steps = |folder: &Path| -> Vec<u64> {
        let lines = read_lines(&folder.join(LOG_FILE), "evaluation").unwrap();
        lines.iter().map(|line| line["step"].as_u64().unwrap()).collect()
    };
    assert_eq!(steps(&parts), steps(&whole), "no line of the log is lost or doubled");
}

#[test]
fn two_halves_are_one_batch() {
    let (whole, halves) = (scratch("train-one-batch"), scratch("train-two-halves"));
    // Noise and places are drawn by sample or by pass; without noise the halves must add up to the whole.
    let common = ["criterion.noise=0", "schedule.steps=5", "optimizer.ema.decay=0"];
    train(job(&whole, &common), &mut Silent).unwrap();
    let split = [&common[..], &["schedule.batch=3", "schedule.accumulation=2"]].concat();
    train(job(&halves, &split), &mut Silent).unwrap();
    let numbers = |folder: &Path| -> Vec<f32> {
        let bytes = weights(&folder.join("last"));
        let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        bytes[start..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let (whole, halves) = (numbers(&whole), numbers(&halves));
    assert_eq!(whole.len(), halves.len());
    let apart = whole.iter().zip(&halves).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    // The first steps of Adam divide by tiny moments and enlarge rounding; a lost half would be of the order of the rate, 1e-2.
    assert!(apart < 1e-4, "{apart}");
}

/// Steps of no length leave the weights that a run starts with.
#[test]
fn a_run_can_start_from_the_state_of_another() {
    let (first, second) = (scratch("train-first"), scratch("train-second"));
    train(job(&first, &["schedule.steps=9", "optimizer.ema.decay=0"]), &mut Silent).unwrap();
    let from = format!("model.from={:?}", first.join(STATE_FILE));
    let overrides = [&from[..], "schedule.steps=3", "schedule.seed=5", "optimizer.lr=1e-30", "optimizer.ema.decay=0"];
    let summary = train(job(&second, &overrides), &mut Silent).unwrap();
    assert_eq!((summary.plan.done, summary.step), (0, 3), "it counts its own steps");
    assert!(weights(&first.join("last")) == weights(&second.join("last")));
}

/// What comes last in the list stays; a folder of weights that is not there is an error, not a random start.
#[test]
fn a_run_can_start_from_several_checkpoints() {
    let [first, second, third] = ["train-list-1", "train-list-2", "train-list-3"].map(scratch);
    let short = ["schedule.steps=2", "optimizer.ema.decay=0"];
    train(job(&first, &short), &mut Silent).unwrap();
    train(job(&second, &[&short[..], &["schedule.seed=4"]].concat()), &mut Silent).unwrap();
    let from = format!("model.from={:?}", [first.join("last"), second.join("last")]);
    let overrides = [&from[..], "schedule.steps=1", "optimizer.lr=1e-30", "optimizer.ema.decay=0"];
    train(job(&third, &overrides), &mut Silent).unwrap();
    assert!(weights(&second.join("last")) == weights(&third.join("last")));
    assert!(weights(&first.join("last")) != weights(&third.join("last")));
    let missing = format!("model.from={:?}", [first.join("last"), first.join("nowhere")]);
    let error = train(job(&scratch("train-list-4"), &[&missing]), &mut Silent).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn a_state_of_another_recipe_is_refused() {
    let out = scratch("train-other");
    train(job(&out, &[]), &mut StopAt(3)).unwrap();
    let error = train(job(&out, &["schedule.batch=9", "criterion.lambda=3"]), &mut Silent).unwrap_err();
    let TrainError::State(StateError::OtherRecipe { differences, .. }) = &error else { panic!("{error}") };
    assert_eq!(differences, &["criterion.lambda: 1.0 -> 3.0", "schedule.batch: 6 -> 9"]);
    let mut again = job(&out, &["schedule.batch=9", "schedule.steps=2"]);
    again.resume = Resume::Never;
    assert_eq!(train(again, &mut Silent).unwrap().plan.done, 0);
    let mut none = job(&scratch("train-nothing"), &[]);
    none.resume = Resume::Required;
    assert!(matches!(train(none, &mut Silent), Err(TrainError::NoState { .. })));
}

#[test]
fn samples_without_a_finite_loss_are_named_and_the_weights_kept() {
    let out = scratch("train-poison");
    // The first seven steps are clean, then the fault is switched on.
    let poison = "criterion.poison=0.6";
    let mut faulty = job(&out, &[poison]);
    faulty.recipe.stage.push(toml::from_str("until = 0.35\ncriterion = { poison = 2.0 }").unwrap());
    let error = train(faulty, &mut Silent).unwrap_err();
    let TrainError::NotFinite { step: 7, what: "the loss", samples, alone: true } = &error else { panic!("{error}") };
    assert!(!samples.is_empty() && samples.len() < 6, "{samples:?}");
    assert!(error.to_string().contains(&samples[0]), "{error}");
    let kept = state(&out);
    assert_eq!(kept.progress.step, 7);
    let clean = scratch("train-clean");
    let mut healthy = job(&clean, &[poison]);
    healthy.recipe.stage.push(toml::from_str("until = 0.35\ncriterion = { poison = 2.0 }").unwrap());
    train(healthy, &mut StopAt(7)).unwrap();
    assert!(kept == state(&clean), "the weights before the fault");
}

#[test]
fn a_plan_writes_nothing() {
    let out = scratch("train-plan").join("new");
    let plan = plan(job(&out, &["schedule.accumulation=3"])).unwrap();
    assert_eq!((plan.steps, plan.samples_per_step, plan.done), (20, 18, 0));
    assert_eq!(plan.parameters, 64 * 8 + (48 + 8) * 4 + 4);
    assert_eq!((plan.memory.weights, plan.memory.states), (plan.parameters as u64 * 8, plan.parameters as u64 * 12));
    assert!(!out.exists());
}

#[test]
fn nothing_to_train_on_is_an_error() {
    let out = scratch("train-nothing-wanted");
    std::fs::write(out.join("d.jsonl"), "{\"image\":\"a.png\",\"phrase\":\"the dog\",\"targets\":[]}\n").unwrap();
    let source = format!("data.0.source=jsonl:{}", out.join("d.jsonl").display());
    let error = train(job(&out, &[&source]), &mut Silent).unwrap_err().to_string();
    assert!(error.contains("no phrase of the kind that the recipe asks for"), "{error}");
}

#[test]
fn two_runs_do_not_write_one_folder() {
    let out = scratch("train-in-use");
    let other = std::fs::File::create(out.join(run::LOCK_FILE)).unwrap();
    other.lock().unwrap();
    let error = train(job(&out, &[]), &mut Silent).unwrap_err();
    assert!(matches!(&error, TrainError::InUse { path } if *path == out), "{error}");
    assert!(error.to_string().contains("--out"), "{error}");
    assert!(!out.join(STATE_FILE).exists() && !out.join(LOG_FILE).exists());
    // A plan writes nothing, so it may look.
    plan(job(&out, &[])).unwrap();
    drop(other);
    assert!(train(job(&out, &["schedule.steps=2"]), &mut Silent).unwrap().finished);
}
