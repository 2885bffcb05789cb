//! Reads, checks and resolves recipes.

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{Augmentation, AugmentationSection, ClassifierSection, Recipe, Shape};

/// What is wrong with a recipe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// Not TOML, an unknown key, a value of another type.
    #[error("{place}: {message}")]
    Parse {
        /// File and line, or the override.
        place: String,
        /// What is wrong, and the keys that are known.
        message: String,
    },
    /// An override that is not `dotted.key=value`.
    #[error("override {found:?}: expected dotted.key=value")]
    Override {
        /// The text given.
        found: String,
    },
    /// A value that cannot be.
    #[error("{key} is {found}, expected {expected}")]
    Value {
        /// Its dotted key.
        key: String,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
}

/// The system that a recipe trains, read without checking the rest.
///
/// # Errors
/// If the text is not TOML, or does not say.
pub fn system_of(text: &str, file: &str) -> Result<String, RecipeError> {
    let table: Table = toml::from_str(text).map_err(|error| parse_error(file, text, &error))?;
    let system = table.get("model").and_then(|model| model.get("system")).and_then(Value::as_str);
    system.map(str::to_owned).ok_or_else(|| RecipeError::Parse {
        place: file.to_owned(),
        message: "model.system is missing, expected the name of a system".to_owned(),
    })
}

impl<C: Serialize + DeserializeOwned + Default + Clone> Recipe<C> {
    /// Reads a recipe; `file` names it in messages. `overrides` are `dotted.key=value`, values as in TOML; a bare word is a text, and
    /// numbers choose in lists (`data.0.weight=2`).
    ///
    /// # Errors
    /// [`RecipeError`] with file and line, or the override, and what was expected.
    pub fn parse(text: &str, file: &str, overrides: &[String]) -> Result<Self, RecipeError> {
        let mut recipe: Self = toml::from_str(text).map_err(|error| parse_error(file, text, &error))?;
        let mut tree = Value::Table(toml::from_str(text).map_err(|error| parse_error(file, text, &error))?);
        for change in overrides {
            set(&mut tree, change)?;
            // One at a time, so that the message names the one that is wrong.
            let failed = |error: toml::de::Error| RecipeError::Parse {
                place: format!("override {change:?}"),
                message: error.message().to_owned(),
            };
            recipe = tree.clone().try_into().map_err(failed)?;
        }
        recipe.check()?;
        Ok(recipe)
    }

    /// The configuration of the model: that of the preset with the recipe's changes. From here on the recipe states all of it.
    ///
    /// # Errors
    /// If the recipe changes a key that the configuration does not have, or to a value it cannot take.
    pub fn resolve<F: Serialize + DeserializeOwned>(&mut self, preset: &F) -> Result<F, RecipeError> {
        let Value::Table(mut config) = tree(preset)? else { return self.typed_config(Table::new()) };
        for (key, value) in &self.model.config {
            if !config.contains_key(key) {
                let known: Vec<String> = config.keys().map(|key| format!("`{key}`")).collect();
                return Err(RecipeError::Value {
                    key: format!("model.config.{key}"),
                    found: value.to_string(),
                    expected: format!("one of {}", known.join(", ")),
                });
            }
            config.insert(key.clone(), value.clone());
        }
        let typed = self.typed_config(config)?;
        if let Value::Table(config) = tree(&typed)? {
            self.model.config = config;
        }
        Ok(typed)
    }

    fn typed_config<F: DeserializeOwned>(&self, config: Table) -> Result<F, RecipeError> {
        Value::Table(config).try_into().map_err(|error: toml::de::Error| RecipeError::Parse {
            place: "model.config".to_owned(),
            message: error.message().to_owned(),
        })
    }

    /// The recipe as TOML, every default written out.
    ///
    /// # Errors
    /// If the criterion holds what TOML cannot say.
    pub fn to_toml(&self) -> Result<String, RecipeError> {
        toml::to_string_pretty(self)
            .map_err(|error| RecipeError::Parse { place: "the recipe as TOML".to_owned(), message: error.to_string() })
    }

    /// The criterion at a point of the run, 0 to 1: that of the stage, moved toward what follows if the stage says so.
    ///
    /// # Errors
    /// If a stage names a key that the criterion does not have.
    pub fn criterion_at(&self, share: f64) -> Result<C, RecipeError> {
        let Some(index) = self.stage_at(share) else { return Ok(self.criterion.clone()) };
        let stage = &self.stage[index];
        let mut values = self.stage_criterion(Some(index))?;
        if stage.anneal {
            // As the criterion has them: a whole number that stands for a fraction is one.
            values = tree(&self.typed_criterion(values, index)?)?;
            let start = if index == 0 { 0.0 } else { self.stage[index - 1].until };
            let next = self.stage_criterion(Some(index + 1).filter(|&next| next < self.stage.len()))?;
            let next = tree(&self.typed_criterion(next, index)?)?;
            let part = (share - start) / (stage.until - start).max(f64::EPSILON);
            blend(&mut values, &next, part.clamp(0.0, 1.0));
        }
        self.typed_criterion(values, index)
    }

    /// A criterion that asks for everything that any part of the run asks for: of every number the largest, of every switch whether it is
    /// on anywhere. What a model is prepared for.
    ///
    /// # Errors
    /// If a stage names a key that the criterion does not have.
    pub fn broadest_criterion(&self) -> Result<C, RecipeError> {
        let mut all = tree(&self.criterion)?;
        for index in 0..self.stage.len() {
            widen(&mut all, &tree(&self.typed_criterion(self.stage_criterion(Some(index))?, index)?)?);
        }
        self.typed_criterion(all, 0)
    }

    /// The stage of a point of the run, 0 to 1; `None` after the last.
    pub fn stage_at(&self, share: f64) -> Option<usize> {
        self.stage.iter().position(|stage| share < stage.until)
    }

    /// The criterion of a stage, or of the recipe itself, as a tree.
    fn stage_criterion(&self, stage: Option<usize>) -> Result<Value, RecipeError> {
        let whole = tree(&self.criterion)?;
        let Value::Table(mut table) = whole else { return Ok(whole) };
        if let Some(index) = stage {
            table.extend(self.stage[index].criterion.clone());
        }
        Ok(Value::Table(table))
    }

    fn typed_criterion(&self, values: Value, stage: usize) -> Result<C, RecipeError> {
        values.try_into().map_err(|error: toml::de::Error| RecipeError::Parse {
            place: format!("stage.{stage}.criterion"),
            message: error.message().to_owned(),
        })
    }

    fn check(&self) -> Result<(), RecipeError> {
        fn bad<T>(key: impl Into<String>, found: impl std::fmt::Display, expected: &str) -> Result<T, RecipeError> {
            Err(RecipeError::Value { key: key.into(), found: found.to_string(), expected: expected.to_owned() })
        }
        let at_least_one = |key: &str, found: usize| if found == 0 { bad(key, found, "1 or more") } else { Ok(()) };
        let share = |key: &str, found: f64| {
            if (0.0..=1.0).contains(&found) { Ok(()) } else { bad(key, found, "a number from 0 to 1") }
        };
        let positive = |key: &str, found: f64| {
            if found.is_finite() && found > 0.0 { Ok(()) } else { bad(key, found, "a number above 0") }
        };
        let not_negative = |key: &str, found: f64| {
            if found.is_finite() && found >= 0.0 { Ok(()) } else { bad(key, found, "a number of 0 or more") }
        };
        if self.data.is_empty() {
            return bad("data", "empty", "one or more [[data]]");
        }
        let (from, layouts) = (self.model.from.len(), self.model.layout.len());
        if layouts > 0 && layouts != from {
            return bad("model.layout", format!("a list of {layouts}"), "none, or one for each entry of model.from");
        }
        for (index, data) in self.data.iter().enumerate() {
            positive(&format!("data.{index}.weight"), data.weight)?;
            if data.targets.is_empty() {
                return bad(format!("data.{index}.targets"), "empty", "some of \"zero\", \"one\", \"many\"");
            }
        }
        let s = &self.schedule;
        match (s.steps, s.epochs) {
            (Some(0), None) => return bad("schedule.steps", 0, "1 or more"),
            (Some(_), None) => {}
            (None, Some(epochs)) => positive("schedule.epochs", epochs)?,
            (None, None) => return bad("schedule.steps", "missing", "steps or epochs"),
            (Some(_), Some(_)) => return bad("schedule.epochs", "given beside steps", "only one of them"),
        }
        at_least_one("schedule.batch", s.batch)?;
        at_least_one("schedule.accumulation", s.accumulation)?;
        at_least_one("schedule.phrases_per_picture", s.phrases_per_picture)?;
        at_least_one("output.workers", self.output.workers)?;
        share("schedule.warmup", s.warmup)?;
        share("schedule.floor", s.floor)?;
        if (s.shape == Shape::Step) == s.milestones.is_empty() || !s.milestones.is_sorted() {
            let expected = "shares of the run, ascending, and only with the shape \"step\"";
            return bad("schedule.milestones", format!("{:?}", s.milestones), expected);
        }
        for (index, &milestone) in s.milestones.iter().enumerate() {
            share(&format!("schedule.milestones.{index}"), milestone)?;
        }
        share("schedule.start", s.start)?;
        if s.shape == Shape::CosineByEpoch && s.epochs.is_none() {
            return bad("schedule.epochs", "missing", "the epochs that the shape \"cosine_by_epoch\" counts");
        }
        let o = &self.optimizer;
        not_negative("optimizer.lr", o.lr)?;
        positive("optimizer.eps", o.eps)?;
        share("optimizer.backbone_from", o.backbone_from)?;
        not_negative("optimizer.weight_decay", o.weight_decay)?;
        not_negative("optimizer.clip_norm", o.clip_norm)?;
        for (key, found) in [("base", o.factors.base), ("new", o.factors.new), ("backbone", o.factors.backbone)] {
            not_negative(&format!("optimizer.factors.{key}"), found)?;
        }
        for (key, found) in [("betas.0", o.betas[0]), ("betas.1", o.betas[1]), ("ema.decay", o.ema.decay)] {
            if !(0.0..1.0).contains(&found) {
                return bad(format!("optimizer.{key}"), found, "a number from 0 to below 1");
            }
        }
        if let Some(muon) = &o.muon {
            if !(0.0..1.0).contains(&muon.momentum) {
                return bad("optimizer.muon.momentum", muon.momentum, "a number from 0 to below 1");
            }
            if let Some(lr) = muon.lr {
                not_negative("optimizer.muon.lr", lr)?;
                positive("optimizer.lr", o.lr)?;
            }
            if muon.names.is_empty() {
                return bad("optimizer.muon.names", "[]", "at least one beginning of a parameter's name");
            }
        }
        let a = &self.augmentation;
        share("augmentation.mirror", a.mirror)?;
        share("augmentation.jitter", a.jitter)?;
        share("augmentation.jitter_strength", a.jitter_strength)?;
        share("augmentation.grey", a.grey)?;
        share("augmentation.crop", a.crop)?;
        if let Some(classifier) = &a.classifier {
            classifier.check()?;
        }
        let mut last = 0.0;
        for (index, stage) in self.stage.iter().enumerate() {
            if !(stage.until > last && stage.until <= 1.0) {
                return bad(format!("stage.{index}.until"), stage.until, "above the stage before, at most 1");
            }
            last = stage.until;
            self.typed_criterion(self.stage_criterion(Some(index))?, index)?;
        }
        Ok(())
    }
}

impl AugmentationSection {
    /// Whether a task knows the kind.
    pub(crate) fn check_kind(&self, known: &[Augmentation], expected: &str) -> Result<(), RecipeError> {
        if known.contains(&self.kind) {
            return Ok(());
        }
        let (key, found) = ("augmentation.kind".to_owned(), format!("\"{:?}\"", self.kind).to_lowercase());
        Err(RecipeError::Value { key, found, expected: expected.to_owned() })
    }

    /// Refuses what reads phrases, for tasks without any.
    pub(crate) fn check_wordless(&self) -> Result<(), RecipeError> {
        if self.grey == 0.0 {
            return Ok(());
        }
        let (key, expected) = ("augmentation.grey".to_owned(), "0 where there are no phrases".to_owned());
        Err(RecipeError::Value { key, found: self.grey.to_string(), expected })
    }
}

impl ClassifierSection {
    fn check(&self) -> Result<(), RecipeError> {
        let bad = |key: &str, found: String, expected: &str| {
            let key = format!("augmentation.classifier.{key}");
            Err(RecipeError::Value { key, found, expected: expected.to_owned() })
        };
        let [least, most] = self.area;
        if !(0.0 < least && least <= most && most <= 1.0) {
            return bad("area", format!("{:?}", self.area), "two shares above 0, ascending");
        }
        let [least, most] = self.aspect;
        if !(0.0 < least && least <= most && most.is_finite()) {
            return bad("aspect", format!("{:?}", self.aspect), "two numbers above 0, ascending");
        }
        if !(0.0..=10.0).contains(&self.magnitude) {
            return bad("magnitude", self.magnitude.to_string(), "a number from 0 to 10");
        }
        if !(self.deviation.is_finite() && self.deviation >= 0.0) {
            return bad("deviation", self.deviation.to_string(), "a number of 0 or more");
        }
        for (key, found) in [("erasing", self.erasing), ("mixing", self.mixing)] {
            if !(0.0..=1.0).contains(&found) {
                return bad(key, found.to_string(), "a number from 0 to 1");
            }
        }
        Ok(())
    }
}

/// A value as TOML sees it.
fn tree<T: Serialize>(value: &T) -> Result<Value, RecipeError> {
    Value::try_from(value)
        .map_err(|error| RecipeError::Parse { place: "as TOML".to_owned(), message: error.to_string() })
}

fn parse_error(file: &str, text: &str, error: &toml::de::Error) -> RecipeError {
    let line = error.span().map(|span| text[..span.start.min(text.len())].lines().count().max(1));
    // A span that starts a line belongs to that line and not to the one before.
    let starts_line = error.span().is_some_and(|span| text[..span.start.min(text.len())].ends_with('\n'));
    let place = match line {
        Some(line) => format!("{file}:{}", line + usize::from(starts_line)),
        None => file.to_owned(),
    };
    RecipeError::Parse { place, message: error.message().to_owned() }
}

/// Sets `dotted.key=value` in a tree. Whether the key may be there is found when the tree becomes a recipe.
fn set(tree: &mut Value, change: &str) -> Result<(), RecipeError> {
    let wrong = || RecipeError::Override { found: change.to_owned() };
    let (key, text) = change.split_once('=').ok_or_else(wrong)?;
    let (key, text) = (key.trim(), text.trim());
    // `2`, `true`, `[1, 2]` and `"text"` are TOML; anything else is a text without its quotes.
    let value = toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()));
    let mut place = tree;
    let parts: Vec<&str> = key.split('.').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(wrong());
    }
    for part in &parts {
        place = match place {
            Value::Table(table) => table.entry((*part).to_owned()).or_insert_with(|| Value::Table(Table::new())),
            Value::Array(list) => {
                let count = list.len();
                let entry = part.parse::<usize>().ok().and_then(|index| list.get_mut(index));
                entry.ok_or_else(|| RecipeError::Value {
                    key: key.to_owned(),
                    found: (*part).to_owned(),
                    expected: format!("an index below {count}"),
                })?
            }
            _ => return Err(wrong()),
        };
    }
    *place = value;
    Ok(())
}

/// Moves every number that differs toward the other tree.
fn blend(from: &mut Value, to: &Value, part: f64) {
    match (from, to) {
        (Value::Table(from), Value::Table(to)) => {
            for (key, value) in from.iter_mut() {
                if let Some(other) = to.get(key) {
                    blend(value, other, part);
                }
            }
        }
        (Value::Array(from), Value::Array(to)) => from.iter_mut().zip(to).for_each(|(a, b)| blend(a, b, part)),
        (Value::Float(from), Value::Float(to)) => *from += (to - *from) * part,
        _ => {}
    }
}

/// Of every number the larger, of every switch whether one is on.
fn widen(all: &mut Value, other: &Value) {
    match (all, other) {
        (Value::Table(all), Value::Table(other)) => {
            for (key, value) in other {
                if let Some(known) = all.get_mut(key) {
                    widen(known, value);
                }
            }
        }
        (Value::Array(all), Value::Array(other)) => all.iter_mut().zip(other).for_each(|(a, b)| widen(a, b)),
        (Value::Float(all), Value::Float(other)) => *all = all.max(*other),
        (Value::Integer(all), Value::Integer(other)) => *all = (*all).max(*other),
        (Value::Boolean(all), Value::Boolean(other)) => *all |= other,
        _ => {}
    }
}
