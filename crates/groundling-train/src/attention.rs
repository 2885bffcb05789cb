//! Training on phrases with losses on attention: AttBalance.
//!
//! The section `[attbalance]` of a recipe switches it on for every system that is [`Attentive`]. The losses are those of
//! [`groundling_models::attbalance`]; this module gives them what belongs to a run: the teacher, which follows the model after every step and is
//! saved with it, the smoothed correlations, and the step at which supervision ends. Inference and weights folders stay what they are.

use burn::tensor::{Device, Tensor};
use groundling_data::examples::Examples;
use groundling_eval::correlation::spearman;
use groundling_models::attbalance::{AttBalance, Attended, Attentive, Balanced, Rho, Smoothed, Step, content_shares};
use groundling_models::contract::{Batch, ConfigError, Losses, System};
use groundling_nn::ema::{Decay, Ema};

use crate::batches::{BatchError, Turn};
use crate::evaluate::{Evaluation, EvaluationError};
use crate::order::{Order, Pictures};
use crate::phrases::{Phrases, to_device};
use crate::recipe::{RecipeError, ValidationSection};
use crate::sample::HostSample;
use crate::state::{State, StateError};
use crate::task::{Companion, ConfigOf, CriterionOf, LossError, RecipeOf, Task};

/// A system that grounds phrases and whose attention is supervised, with what it is trained on.
#[derive(Debug)]
pub struct Supervised<S> {
    phrases: Phrases<S>,
    /// `None` for the plain losses.
    settings: Option<AttBalance>,
    layers: Vec<usize>,
    side: usize,
    /// Steps that are supervised.
    until: u64,
}

/// What supervision keeps beside the model.
#[derive(Debug, Clone)]
pub struct Beside<S> {
    /// Follows the model; `None` where no loss asks for it.
    teacher: Option<Ema<S>>,
    smoothed: Smoothed,
    /// Supervised steps that are left.
    left: u64,
}

impl<S: Attentive + 'static> Task for Supervised<S> {
    type Model = S;
    type Sample = HostSample;
    type Validation = Examples;
    type Figures = Evaluation;
    type Companion = Beside<S>;
    const WANTED: &'static str = <Phrases<S> as Task>::WANTED;
    const SUPERVISES_ATTENTION: bool = true;

    fn resolve(recipe: &mut RecipeOf<Self>, config: &ConfigOf<Self>) {
        if let Some(settings) = &mut recipe.attbalance {
            settings.layers.get_or_insert_with(|| S::supervised_layers(config));
            settings.constraint_epochs.get_or_insert_with(|| S::epochs_supervised(config) as f64);
        }
    }

    fn open(recipe: &RecipeOf<Self>, config: &ConfigOf<Self>) -> Result<Self, BatchError> {
        let phrases = Phrases::<S>::open(recipe, config)?;
        let Some(settings) = recipe.attbalance.clone() else {
            return Ok(Self { phrases, settings: None, layers: Vec::new(), side: 0, until: 0 });
        };
        let layers = settings.layers.clone().unwrap_or_else(|| S::supervised_layers(config));
        settings.check(&layers, S::attentive_layers(config)).map_err(wrong_section)?;
        let s = &recipe.schedule;
        let samples = |source| Order::new(phrases.pictures(source), s.phrases_per_picture, 0).samples();
        let epoch = (0..recipe.data.len()).map(samples).sum::<u64>() as f64 / (s.batch * s.accumulation) as f64;
        let epochs = settings.constraint_epochs.unwrap_or_else(|| S::epochs_supervised(config) as f64);
        let until = if settings.is_off() { 0 } else { (epochs * epoch).ceil() as u64 };
        Ok(Self { phrases, settings: Some(settings), layers, side: S::input(config).side as usize, until })
    }

    fn pictures(&self, source: usize) -> Pictures {
        self.phrases.pictures(source)
    }

    fn skipped(&self) -> usize {
        self.phrases.skipped()
    }

    fn samples(&self, turns: &[Turn]) -> Result<Vec<HostSample>, BatchError> {
        self.phrases.samples(turns)
    }

    fn id(sample: &HostSample) -> &str {
        Phrases::<S>::id(sample)
    }

    fn companion(&self, model: &S) -> Beside<S> {
        let settings = self.settings.as_ref().filter(|settings| settings.use_mrc && self.until > 0);
        let decay = |settings: &AttBalance| Decay { rate: settings.momentum, warm_up: false };
        let teacher = settings.map(|settings| Ema::new(model, decay(settings)));
        Beside { teacher, smoothed: Smoothed::default(), left: self.until }
    }

    fn losses(
        &self,
        model: &S,
        samples: &[HostSample],
        criterion: &CriterionOf<Self>,
        beside: &mut Beside<S>,
        device: &Device,
    ) -> Result<Losses, LossError> {
        let Some(settings) = self.settings.as_ref().filter(|_| beside.left > 0) else {
            return self.phrases.losses(model, samples, criterion, &mut (), device);
        };
        let (batch, truths) = to_device(samples, self.side, device);
        let attended = model.attend(&batch, &self.layers);
        let teacher = beside.teacher.as_ref().map(|teacher| {
            // Dropout acts on devices with gradients alone.
            let device = settings.teacher_dropout.then_some(device);
            self.attended_by(teacher.module(), batch.clone(), device)
        });
        let step = Step {
            attended: &attended,
            teacher: teacher.as_ref(),
            truths: &truths,
            content_shares: &content_shares(&batch.contents, self.side),
            box_weights: S::box_weights(criterion),
            correlate: &|attention, quality| spearman(attention, quality).map(|found| found.rho),
        };
        let balanced = step.losses(settings, &mut beside.smoothed);
        Ok(Losses { terms: self.terms(&balanced, settings.rho != Rho::Off), total: balanced.total })
    }

    fn skips_non_finite(&self) -> bool {
        self.settings.as_ref().is_some_and(|settings| settings.skip_non_finite)
    }

    fn validation(&self, section: &ValidationSection) -> Result<Examples, BatchError> {
        self.phrases.validation(section)
    }

    fn evaluate(
        &self,
        model: &S,
        validation: &Examples,
        limit: Option<usize>,
        device: &Device,
    ) -> Result<Evaluation, EvaluationError> {
        self.phrases.evaluate(model, validation, limit, device)
    }

    fn is_main_term(name: &str) -> bool {
        ["l1", "giou", "rac", "mrc"].contains(&name) || Phrases::<S>::is_main_term(name)
    }
}

impl<S: Attentive> Supervised<S> {
    /// What a teacher attends to on a batch: on a device with gradients as in training, without one as at inference.
    fn attended_by(&self, teacher: &S, batch: Batch, device: Option<&Device>) -> Attended {
        let mut attended = match device {
            Some(device) => teacher.clone().fork(device).train().attend(&batch, &self.layers),
            None => {
                let batch = Batch { canvases: batch.canvases.inner(), ids: batch.ids.inner(), ..batch };
                teacher.attend(&batch, &self.layers)
            }
        };
        attended.logits = attended.logits.detach();
        attended
    }

    /// Everything that the total is made of, one by one; means over the samples.
    fn terms(&self, balanced: &Balanced, weighs_layers: bool) -> Vec<(String, Tensor<1>)> {
        let device = balanced.total.device();
        let number = |value: f64| Tensor::<1>::from_floats([value as f32], &device);
        let mut terms: Vec<(String, Tensor<1>)> = [
            ("l1", &balanced.l1),
            ("giou", &balanced.l_giou),
            ("rac", &balanced.l_rac),
            ("mrc", &balanced.l_mrc),
            ("weight.attention", &balanced.attention_weight),
            ("weight.size", &balanced.size_weight),
        ]
        .map(|(name, values)| (name.to_owned(), values.clone().mean()))
        .into();
        let iou = balanced.iou.iter().sum::<f64>() / balanced.iou.len().max(1) as f64;
        terms.push(("iou".to_owned(), number(iou)));
        let inside = balanced.maps.log_inside.clone().exp().mean_dim(1);
        for (index, layer) in self.layers.iter().enumerate() {
            terms.push((format!("inside.{layer}"), inside.clone().narrow(0, index, 1).reshape([1])));
            terms.push((format!("weight.layer.{layer}"), number(balanced.layer_weights[index])));
            if weighs_layers {
                terms.push((format!("rho.{layer}"), number(balanced.rho[index])));
            }
        }
        terms
    }
}

impl<S: System> Companion<S> for Beside<S> {
    fn copies(&self) -> u64 {
        u64::from(self.teacher.is_some())
    }

    fn update(&mut self, model: &S) {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.teacher = None;
        }
        if let Some(teacher) = &mut self.teacher {
            teacher.update(model);
        }
    }

    fn save(&self, state: &mut State) {
        if let Some(teacher) = &self.teacher {
            state.put_module("teacher", teacher.module());
        }
        if let Some(rho) = &self.smoothed.0 {
            state.put_numbers("rho", rho);
        }
    }

    fn resume(mut self, state: &State) -> Result<Self, StateError> {
        // Steps that were left out are not supervised steps.
        self.left = self.left.saturating_sub(state.progress.step - state.progress.left_out);
        self.smoothed = Smoothed(state.numbers("rho"));
        self.teacher = match self.teacher.take().filter(|_| self.left > 0) {
            Some(teacher) => {
                let module = state.get_module("teacher", teacher.module().clone())?;
                Some(Ema::resume(module, teacher.decay(), 0))
            }
            None => None,
        };
        Ok(self)
    }
}

fn wrong_section(error: ConfigError) -> RecipeError {
    let ConfigError { field, found, expected } = error;
    RecipeError::Value { key: format!("attbalance.{field}"), found, expected }
}
