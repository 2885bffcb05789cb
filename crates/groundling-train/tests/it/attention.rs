//! Losses on attention in a run: the numbers of the fixtures, resuming, the end of supervision, what is refused.

use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use groundling_core::{BoxCxcywh, ContentRect};
use groundling_models::attbalance::{Attended, Attentive};
use groundling_models::contract::{
    Batch, ConfigError, Fit, GroundOptions, Grounded, InputSpec, Layout, Losses, OptionError, ParameterGroup, Resample,
    SampleTruth, System, Trainable,
};
use groundling_models::transvg::{TransVg, TransVgConfig};
use groundling_nn::layers::PrepareInference;
use groundling_testkit::{Array, Case, Folder, scratch};
use groundling_train::attention::Supervised;
use groundling_train::log::{LOG_FILE, read_lines};
use groundling_train::phrases::Phrases;
use groundling_train::recipe::{Recipe, RecipeError};
use groundling_train::run::{self, Job, Resume, Silent, TrainError};
use groundling_train::sample::HostSample;
use groundling_train::state::{STATE_FILE, State};
use groundling_train::task::{ConfigOf, CriterionOf, RecipeOf, Task};
use serde::{Deserialize, Serialize};

use crate::support::{self, StopAt};
use crate::toy::{Toy, alone};

/// Attention and boxes that are parameters, as a fixture gives them.
#[derive(Module, Debug)]
struct Given {
    logits: Param<Tensor<4>>,
    boxes: Param<Tensor<3>>,
    other: Option<Param<Tensor<4>>>,
    #[module(skip)]
    config: GivenConfig,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct GivenConfig {
    grids: Vec<[usize; 2]>,
    padding: Vec<bool>,
    layers: usize,
    box_weights: [f64; 2],
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Weights {
    box_weights: [f64; 2],
}

impl PrepareInference for Given {
    fn prepare_inference(&mut self) {}
}

impl Trainable for Given {
    const NAME: &'static str = "given";
    type Config = GivenConfig;
    type Criterion = Weights;

    fn init(_: &GivenConfig, _: &Device) -> Result<Self, ConfigError> {
        unreachable!("made from a fixture")
    }

    fn config(&self) -> &GivenConfig {
        &self.config
    }

    fn layouts(_: &GivenConfig) -> Vec<Layout> {
        Vec::new()
    }

    fn parameter_group(_: &str) -> ParameterGroup {
        ParameterGroup::New
    }
}

impl System for Given {
    type Phrase = ();
    type View = ();

    fn input(_: &GivenConfig) -> InputSpec {
        InputSpec {
            side: 4,
            fit: Fit::LetterboxCentre,
            resample: Resample::Bilinear,
            mean: [0.0; 3],
            std: [1.0; 3],
            max_ids: 4,
            vocabulary: 30_522,
        }
    }

    fn losses(&self, _: &Batch, _: &[SampleTruth], _: &Weights) -> Losses {
        unreachable!("the losses are those on attention")
    }

    fn read_phrase(&self, _: &[u32]) {}

    fn read_canvas(&self, _: Tensor<4>, _: ContentRect) {}

    fn ground(&self, (): &(), (): &(), _: &GroundOptions) -> Result<Grounded, OptionError> {
        Ok(Grounded::default())
    }
}

impl Attentive for Given {
    fn attentive_layers(config: &GivenConfig) -> usize {
        config.layers
    }

    fn supervised_layers(config: &GivenConfig) -> Vec<usize> {
        (0..config.layers).collect()
    }

    fn epochs_supervised(_: &GivenConfig) -> usize {
        1
    }

    fn box_weights(criterion: &Weights) -> [f64; 2] {
        criterion.box_weights
    }

    fn attend(&self, _: &Batch, _: &[usize]) -> Attended {
        let GivenConfig { grids, padding, .. } = self.config.clone();
        let (boxes, logits) = (self.boxes.val(), self.logits.val());
        let other = self.other.as_ref().map(Param::val);
        let [_, b, ..] = logits.dims();
        let others = other.as_ref().map_or(0, |other| other.dims()[3]);
        Attended { boxes, logits, other, padding, other_padding: vec![false; b * others], grids }
    }
}

fn tensor<const D: usize>(array: &Array, device: &Device) -> Tensor<D> {
    let values: Vec<f32> = array.data.iter().map(|&value| value as f32).collect();
    Tensor::from_data(TensorData::new(values, array.shape.clone()), device)
}

fn array<const D: usize>(tensor: Tensor<D>) -> Array {
    let shape = tensor.dims().to_vec();
    Array::new(shape, tensor.into_data().iter::<f64>().collect::<Vec<f64>>())
}

/// What the cases say that a recipe says too.
#[derive(Deserialize)]
struct Stated {
    grids: Vec<[usize; 2]>,
    alpha_ar: f64,
    alpha_1: f64,
    alpha_g: f64,
    use_rac: bool,
    use_mrc: bool,
    use_dat: bool,
    use_rho: bool,
}

fn fixture_recipe(case: &Case, stated: &Stated) -> Recipe<Weights> {
    let rho = match (stated.use_rho, case.has_input("rho")) {
        (false, _) => "\"off\"".to_owned(),
        (true, true) => format!("{{ fixed = {:?} }}", case.input("rho").data),
        (true, false) => "\"batch\"".to_owned(),
    };
    let Stated { alpha_ar, alpha_1, alpha_g, use_rac, use_mrc, use_dat, .. } = stated;
    let text = format!(
        "[model]\nsystem = \"given\"\npreset = \"given\"\n[[data]]\nsource = \"scenes:train:1000\"\n[schedule]\nsteps = 1\n\
         [criterion]\nbox_weights = [{alpha_1:?}, {alpha_g:?}]\n\
         [attbalance]\nalpha_ar = {alpha_ar:?}\nuse_rac = {use_rac}\nuse_mrc = {use_mrc}\nuse_dat = {use_dat}\nrho = {rho}\n\
         domain = \"{}\"\n",
        if case.has_input("other") { "all_keys" } else { "visual" }
    );
    Recipe::parse(&text, "fixture.toml", &[]).unwrap()
}

#[test]
fn steps_of_the_fixtures_through_a_recipe() {
    let _alone = alone();
    let (mut checked, mut terms) = (0, 0);
    for case in Folder::open("attbalance").of_kinds(&["attbalance_step"], 36) {
        let stated: Stated = case.config();
        if !(stated.use_rac || stated.use_mrc || stated.use_dat) {
            continue; // the plain losses
        }
        let device = Device::flex().autodiff();
        let logits = tensor::<4>(&case.input("logits"), &device);
        let config = GivenConfig {
            grids: stated.grids.clone(),
            padding: case.input("pad").data.iter().map(|&hidden| hidden != 0.0).collect(),
            layers: logits.dims()[0],
            box_weights: [stated.alpha_1, stated.alpha_g],
        };
        let given = |logits: Tensor<4>| Given {
            logits: Param::from_tensor(logits),
            boxes: Param::from_tensor(tensor::<3>(&case.input("pred"), &device)),
            other: case.has_input("other").then(|| Param::from_tensor(tensor::<4>(&case.input("other"), &device))),
            config: config.clone(),
        };
        let (model, teacher) = (given(logits), given(tensor::<4>(&case.input("teacher"), &device)));
        let recipe = fixture_recipe(case, &stated);
        let task = Supervised::<Given>::open(&recipe, &config).unwrap();
        let sample = |gt: &[f64]| HostSample {
            id: "fixture".into(),
            pixels: vec![0.0; 48],
            content: ContentRect { top: 0, left: 0, height: 4, width: 4 },
            ids: vec![101, 102],
            erased: None,
            truth: SampleTruth { bbox: Some(BoxCxcywh::new(gt[0], gt[1], gt[2], gt[3])), ..SampleTruth::default() },
        };
        let samples: Vec<HostSample> = case.input("gt").data.chunks(4).map(sample).collect();
        let mut beside = task.companion(&teacher);
        let losses = task.losses(&model, &samples, &recipe.criterion, &mut beside, &device).unwrap();
        for (name, value) in [("rac", "l_rac"), ("mrc", "l_mrc"), ("weight.attention", "w_adw")] {
            // Without a loss that asks for a teacher there is none.
            if case.json["outputs"].get(value).is_some() && (name != "mrc" || stated.use_mrc) {
                let expected = case.tensor(value).data;
                let mean = expected.iter().sum::<f64>() / expected.len() as f64;
                let (_, found) = losses.terms.iter().find(|(term, _)| term == name).unwrap();
                let found = found.clone().into_data().iter::<f64>().next().unwrap();
                assert!((found - mean).abs() < 1e-4 * mean.abs().max(1.0), "{}: {name} {found} {mean}", case.name());
                terms += 1;
            }
        }
        let mut wanted = case.clone();
        let gradients = !case.probe().is_empty();
        let outputs = wanted.json["outputs"].as_object_mut().unwrap();
        outputs.retain(|_, spec| {
            let of = spec["of"].as_str().unwrap();
            of == "total" || (gradients && of.starts_with("grad_in:"))
        });
        let mut report = wanted.report();
        if report.wants("total") {
            report.check("total", &array(losses.total.clone()));
        }
        if gradients {
            let grads = losses.total.backward();
            report.check("grad_in:logits", &array(model.logits.val().grad(&grads).unwrap()));
            report.check("grad_in:pred", &array(model.boxes.val().grad(&grads).unwrap()));
            checked += 1;
        }
        report.finish();
    }
    assert_eq!((terms, checked), (18, 6), "terms and cases with gradients");
}

const RECIPE: &str = "
    [model]
    system = \"transvg\"
    preset = \"tiny\"
    config = { dropout = 0.0 }
    [[data]]
    source = \"scenes:train:100\"
    size = [128, 128]
    [schedule]
    steps = 5
    batch = 3
    warmup = 0
    [optimizer]
    lr = 1e-3
    [output]
    save_every = 100
    log_every = 1
    [attbalance]
    rho = \"ema\"
";

fn job<T: Task<Model = TransVg>>(out: &Path, overrides: &[&str]) -> Job<T> {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    let mut recipe: RecipeOf<T> = Recipe::<CriterionOf<T>>::parse(RECIPE, "transvg.toml", &overrides).unwrap();
    if !T::SUPERVISES_ATTENTION {
        recipe.attbalance = None;
    }
    let config: ConfigOf<T> = recipe.resolve(&TransVgConfig::tiny()).unwrap();
    Job { recipe, config, device: Device::flex(), out: out.to_owned(), resume: Resume::Auto }
}

fn train<T: Task<Model = TransVg>>(out: &Path, overrides: &[&str]) -> Result<u64, TrainError> {
    let _alone = alone();
    Ok(run::train(job::<T>(out, overrides), &mut Silent)?.step)
}

/// The state without its clocks, of whatever recipe.
fn state(folder: &Path) -> State {
    let mut state = support::state(folder);
    state.progress.recipe = String::new();
    state
}

fn has_teacher(state: &State) -> bool {
    let model = TransVg::init(&TransVgConfig::tiny(), &Device::flex()).unwrap();
    state.get_module("teacher", model).is_ok()
}

/// Terms of the steps of a run, from the first.
fn terms(folder: &Path, name: &str) -> Vec<Option<f64>> {
    let lines = read_lines(&folder.join(LOG_FILE), "step").unwrap();
    lines.iter().map(|line| line["terms"][name].as_f64()).collect()
}

#[test]
fn teacher_and_correlations_are_part_of_the_state() {
    let (whole, parts) = (scratch("attention-whole"), scratch("attention-parts"));
    train::<Supervised<TransVg>>(&whole, &[]).unwrap();
    {
        let _alone = alone();
        run::train(job::<Supervised<TransVg>>(&parts, &[]), &mut StopAt(3)).unwrap();
    }
    let at_3 = state(&parts);
    assert!(has_teacher(&at_3) && at_3.numbers("rho").unwrap().len() == 3);
    train::<Supervised<TransVg>>(&parts, &[]).unwrap();
    assert!(state(&whole) == state(&parts), "weights, moments, teacher and correlations are equal bit for bit");
    assert_eq!(terms(&parts, "mrc"), terms(&whole, "mrc"));
    // At the first step the teacher is the model itself; then it lags behind.
    let mrc = terms(&whole, "mrc");
    assert!(mrc[0].unwrap().abs() < 1e-5 && mrc[4].unwrap() > 1e-4, "{mrc:?}");
    for name in ["l1", "giou", "rac", "iou", "weight.attention", "weight.size", "inside.2", "rho.0", "weight.layer.1"] {
        assert!(terms(&whole, name).iter().all(Option::is_some), "{name}");
    }
}

#[test]
fn after_its_epochs_nothing_is_left_of_it() {
    let (ended, never, plain) = (scratch("attention-ended"), scratch("attention-never"), scratch("attention-plain"));
    // 100 samples are an epoch of 33.3 steps.
    train::<Supervised<TransVg>>(&ended, &["attbalance.constraint_epochs=0.06"]).unwrap();
    let rac = terms(&ended, "rac");
    assert!(rac[..2].iter().all(Option::is_some) && rac[2..].iter().all(Option::is_none), "{rac:?}");
    assert!(!has_teacher(&state(&ended)));
    train::<Supervised<TransVg>>(&never, &["attbalance.constraint_epochs=0"]).unwrap();
    train::<Phrases<TransVg>>(&plain, &[]).unwrap();
    assert!(
        state(&never) == state(&plain),
        "without supervised steps the weights are those of the plain losses, bit for bit"
    );
    assert!(state(&ended) != state(&plain));
}

#[test]
fn a_teacher_may_run_with_dropout() {
    let (with, without) = (scratch("attention-dropout"), scratch("attention-no-dropout"));
    for (folder, dropout) in [(&with, true), (&without, false)] {
        let text = format!("attbalance.teacher_dropout={dropout}");
        train::<Supervised<TransVg>>(folder, &[&text, "schedule.steps=1", "model.config.dropout=0.2"]).unwrap();
    }
    // The same weights: only dropout makes the teacher differ from the model, which has it in any case.
    let mrc = |folder: &Path| terms(folder, "mrc")[0].unwrap();
    assert!(mrc(&with) > 0.0 && mrc(&without) > 0.0 && mrc(&with) != mrc(&without));
}

#[test]
fn steps_that_are_not_finite_are_left_out_but_not_for_ever() {
    let out = scratch("attention-skips");
    let diverges = ["schedule.steps=40", "optimizer.lr=1e30", "optimizer.clip_norm=0"];
    let error = train::<Supervised<TransVg>>(&out, &diverges).unwrap_err();
    let TrainError::NotFinite { step, .. } = error else { panic!("{error}") };
    let lines = read_lines(&out.join(LOG_FILE), "step").unwrap();
    let left_out: Vec<u64> = lines.iter().map(|line| line["left_out"].as_u64().unwrap()).collect();
    assert_eq!(left_out[left_out.len() - 1], 20, "{left_out:?}");
    assert_eq!(step, left_out.len() as u64);
    let out = scratch("attention-strict");
    let strict = [&diverges[..], &["attbalance.skip_non_finite=false"]].concat();
    let TrainError::NotFinite { step: at_once, .. } = train::<Supervised<TransVg>>(&out, &strict).unwrap_err() else {
        panic!("another error");
    };
    assert_eq!(at_once + 20, step);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_written() {
    let text = |change: &str| -> Result<RecipeOf<Supervised<TransVg>>, RecipeError> {
        Recipe::parse(RECIPE, "transvg.toml", &[change.to_owned()])
    };
    let error = text("attbalance.speed=2").unwrap_err().to_string();
    assert!(error.contains("unknown field `speed`, expected one of `layers`, `domain`"), "{error}");
    let out = scratch("attention-refused");
    for (change, message) in [
        ("attbalance.layers=[3]", "attbalance.layers is [3], expected one or more different layers below 3"),
        ("attbalance.momentum=2", "attbalance.momentum is 2, expected 0 to 1"),
        (
            "attbalance.rho={ fixed = [0.5] }",
            "attbalance.rho is [0.5], expected a number of -1 to 1 for each supervised layer",
        ),
    ] {
        let error = train::<Supervised<TransVg>>(&out, &[change]).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    let _alone = alone();
    let mut toy = crate::toy::job(&out, &[]);
    toy.recipe.attbalance = Some(Default::default());
    let error = run::train::<Phrases<Toy>>(toy, &mut Silent).unwrap_err();
    assert!(matches!(&error, TrainError::Recipe(RecipeError::Value { key, .. }) if key == "attbalance"), "{error}");
    assert!(error.to_string().contains("toy has no token whose attention is supervised"), "{error}");
    assert!(!out.join(STATE_FILE).exists());
}

#[test]
fn the_recipe_of_a_run_says_what_the_system_chose() {
    let mut recipe: RecipeOf<Supervised<TransVg>> = Recipe::parse(RECIPE, "transvg.toml", &[]).unwrap();
    Supervised::<TransVg>::resolve(&mut recipe, &TransVgConfig::r50());
    let settings = recipe.attbalance.clone().unwrap();
    assert_eq!((settings.layers, settings.constraint_epochs), (Some(vec![2, 3, 4, 5]), Some(60.0)));
    assert!(recipe.to_toml().unwrap().contains("constraint_epochs = 60.0"));
}
