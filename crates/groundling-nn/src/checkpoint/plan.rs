//! Matches a checkpoint with a module before anything is touched, then loads it.

use std::collections::BTreeMap;

use burn::module::Module;

use super::error::quoted;
use super::module::{Fill, Kind, Target, Targets};
use super::report::WrongShape;
use super::rules::{Adaptation, Outcome, Table};
use super::{Checkpoint, CheckpointError, ElementType, Report, Rule};

/// What would go where: every shape checked, nothing applied.
#[derive(Debug)]
pub struct Plan {
    report: Report,
    assignments: BTreeMap<String, Assignment>,
}

/// Where the values of a parameter come from.
#[derive(Debug)]
struct Assignment {
    claim: Claim,
    adaptation: Option<&'static Adaptation>,
}

/// A tensor of the checkpoint, or an equal part of it along axis 0.
#[derive(Debug, Clone)]
struct Claim {
    tensor: String,
    part: Option<(usize, usize)>,
    shape: Vec<usize>,
    element: ElementType,
}

impl Plan {
    /// The account, for a dry run.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Loads the values into the module the plan was made for, or one like it.
    ///
    /// # Errors
    /// If checkpoint and module do not fit, or values cannot be read. The module is gone then: make a new one, it costs nothing
    /// while its parameters are not initialised.
    pub fn load<M: Module>(self, module: M, checkpoint: &Checkpoint) -> Result<(M, Report), CheckpointError> {
        let Self { mut report, assignments } = self;
        if !report.is_complete() {
            return Err(CheckpointError::Mismatch(Box::new(report)));
        }
        let read = |target: &Target, assignment: &Assignment| assignment.read(target, checkpoint);
        let mut fill = Fill::new(&assignments, &read);
        let module = module.map(&mut fill);
        if let Some(error) = fill.failed {
            return Err(error);
        }
        report.not_finite = fill.not_finite;
        Ok((module, report))
    }
}

impl Assignment {
    /// The values in the layout of a file.
    fn read(&self, target: &Target, checkpoint: &Checkpoint) -> Result<Vec<f32>, CheckpointError> {
        let Claim { tensor: name, part, shape, .. } = &self.claim;
        let wrong =
            |found: String| CheckpointError::Tensor { path: checkpoint.path().into(), tensor: name.clone(), found };
        let tensor = checkpoint.tensors().get(name).ok_or_else(|| wrong("not in this checkpoint".into()))?;
        let mut values = tensor.read_f32().map_err(|error| wrong(error.to_string()))?;
        if let Some((index, _)) = part {
            let length = shape.iter().product::<usize>();
            values = values.get(index * length..(index + 1) * length).unwrap_or_default().to_vec();
        }
        if let Some(adaptation) = self.adaptation {
            values = (adaptation.apply)(values, shape, &target.shape);
        }
        let (expected, found) = (target.shape.iter().product::<usize>(), values.len());
        if found != expected {
            return Err(wrong(format!("{found} numbers for a parameter of {expected}")));
        }
        Ok(values)
    }
}

/// Matches the tensors of a checkpoint with the parameters of a module by a key table.
///
/// # Errors
/// If the table itself is wrong. That something is missing, unused or of another shape stands in the plan's
/// [`report`](Plan::report).
pub fn plan<M: Module>(module: &M, checkpoint: &Checkpoint, keys: &[Rule]) -> Result<Plan, CheckpointError> {
    let table = Table::compile(keys)?;
    let mut targets = Targets::default();
    module.visit(&mut targets);
    let mut report = Report {
        path: checkpoint.path().into(),
        container: checkpoint.container().map(str::to_owned),
        ..Report::default()
    };
    let mut claims = claims(checkpoint, &table, &mut report);
    let mut assignments = BTreeMap::new();
    for target in targets.found {
        match claims.remove(&target.name) {
            None => match table.may_lack(&target.name) {
                Some(reason) => report.kept.push((target.name, reason)),
                None => report.missing.push((target.name, None)),
            },
            Some(claims) => {
                if let Some(assignment) = assign(&target, claims, &table, &mut report) {
                    assignments.insert(target.name, assignment);
                }
            }
        }
    }
    report.unused = claims.into_values().flatten().map(|claim| claim.tensor).collect();
    report.unused.dedup();
    report.loaded = assignments.len();
    report.suggest();
    Ok(Plan { report, assignments })
}

/// Matches, then loads: nothing missing, nothing unused, every shape right, or nothing is done.
///
/// # Errors
/// As [`plan`] and [`Plan::load`].
pub fn load_into<M: Module>(module: M, checkpoint: &Checkpoint, keys: &[Rule]) -> Result<(M, Report), CheckpointError> {
    plan(&module, checkpoint, keys)?.load(module, checkpoint)
}

/// Names of the parameters that a tensor of this name goes to by a key table: one, several if it is split, none if it is ignored.
///
/// # Errors
/// If the table itself is wrong.
pub fn destinations(name: &str, keys: &[Rule]) -> Result<Vec<String>, CheckpointError> {
    Ok(match Table::compile(keys)?.walk(name) {
        Outcome::To(target) => vec![target],
        Outcome::Parts(targets) => targets,
        Outcome::Ignored(_) => Vec::new(),
    })
}

/// Which tensors ask for which parameter.
fn claims(checkpoint: &Checkpoint, table: &Table, report: &mut Report) -> BTreeMap<String, Vec<Claim>> {
    let mut claims: BTreeMap<String, Vec<Claim>> = BTreeMap::new();
    for (name, tensor) in checkpoint.tensors() {
        let whole =
            Claim { tensor: name.clone(), part: None, shape: tensor.shape().to_vec(), element: tensor.element_type() };
        match table.walk(name) {
            Outcome::To(target) => {
                if target != *name {
                    report.renamed.push((name.clone(), target.clone()));
                }
                claims.entry(target).or_default().push(whole);
            }
            Outcome::Ignored(reason) => report.ignored.push((name.clone(), reason)),
            Outcome::Parts(targets) => {
                let count = targets.len();
                let rows = tensor.shape().first().copied().unwrap_or(0);
                if !rows.is_multiple_of(count) || rows == 0 {
                    report.wrong_shape.push(WrongShape {
                        name: quoted(&targets),
                        tensor: name.clone(),
                        expected: vec![rows.next_multiple_of(count).max(count)],
                        found: tensor.shape().to_vec(),
                    });
                    continue;
                }
                report.split.push((name.clone(), targets.clone()));
                for (index, target) in targets.into_iter().enumerate() {
                    let mut part = Claim { part: Some((index, count)), ..whole.clone() };
                    part.shape[0] = rows / count;
                    claims.entry(target).or_default().push(part);
                }
            }
        }
    }
    claims
}

/// The one tensor for a parameter, if there is one and it fits.
fn assign(target: &Target, mut claims: Vec<Claim>, table: &Table, report: &mut Report) -> Option<Assignment> {
    if claims.len() > 1 {
        report.duplicates.push((target.name.clone(), claims.into_iter().map(|claim| claim.tensor).collect()));
        return None;
    }
    let claim = claims.pop()?;
    let float = matches!(claim.element, ElementType::F64 | ElementType::F32 | ElementType::F16 | ElementType::Bf16);
    if claim.element == ElementType::Packed || (target.kind != Kind::Float && float) {
        let what = format!("{} numbers for {:?} values", claim.element, target.kind);
        report.wrong_type.push((target.name.clone(), what));
        return None;
    }
    let adaptation =
        (claim.shape != target.shape).then(|| table.adaptation(&target.name, &claim.shape, &target.shape)).flatten();
    if claim.shape != target.shape && adaptation.is_none() {
        report.wrong_shape.push(WrongShape {
            name: target.name.clone(),
            tensor: claim.tensor,
            expected: target.shape.clone(),
            found: claim.shape,
        });
        return None;
    }
    if let Some(adaptation) = adaptation {
        report.adapted.push((target.name.clone(), adaptation.name));
    }
    if target.kind == Kind::Float && claim.element != ElementType::F32 {
        report.converted.push((target.name.clone(), claim.element));
    }
    report.loaded_numbers += target.shape.iter().product::<usize>();
    Some(Assignment { claim, adaptation })
}
