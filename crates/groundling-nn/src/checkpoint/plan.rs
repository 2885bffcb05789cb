//! Matches a checkpoint with a module before anything is touched, then loads it.

use std::collections::BTreeMap;

use burn::module::Module;

use super::error::quoted;
use super::module::{Fill, Kind, Target, Targets};
use super::pieces::{Claim, Made, Role, Unmade, combine, put_together};
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
    claims: Vec<Claim>,
    shape: Vec<usize>,
    adaptation: Option<&'static Adaptation>,
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
        let wrong = |name: &str, found: String| CheckpointError::Tensor {
            path: checkpoint.path().into(),
            tensor: name.to_owned(),
            found,
        };
        let read = |claim: &Claim| {
            let name = &claim.tensor;
            let tensor = checkpoint.tensors().get(name).ok_or_else(|| wrong(name, "not in this checkpoint".into()))?;
            let values = tensor.read_f32().map_err(|error| wrong(name, error.to_string()))?;
            Ok(match claim.numbers {
                Some((start, length)) => values.get(start..start + length).unwrap_or_default().to_vec(),
                None => values,
            })
        };
        let mut parts = self.claims.iter().map(read).collect::<Result<Vec<_>, CheckpointError>>()?;
        let mut values = match (&mut parts[..], self.claims.first()) {
            ([only], _) => std::mem::take(only),
            (_, Some(first)) => combine(first.role, parts),
            (_, None) => Vec::new(),
        };
        if let Some(adaptation) = self.adaptation {
            values = (adaptation.apply)(values, &self.shape, &target.shape);
        }
        let (expected, found) = (target.shape.iter().product::<usize>(), values.len());
        if found != expected {
            let name = self.claims.first().map_or("", |claim| &claim.tensor);
            return Err(wrong(name, format!("{found} numbers for a parameter of {expected}")));
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
        Outcome::Pieces(pieces) => pieces.into_iter().map(|(target, _)| target).collect(),
        Outcome::Ignored(_) => Vec::new(),
    })
}

/// Which tensors ask for which parameter.
fn claims(checkpoint: &Checkpoint, table: &Table, report: &mut Report) -> BTreeMap<String, Vec<Claim>> {
    let mut claims: BTreeMap<String, Vec<Claim>> = BTreeMap::new();
    for (name, tensor) in checkpoint.tensors() {
        let whole = Claim {
            tensor: name.clone(),
            numbers: None,
            role: Role::Whole,
            shape: tensor.shape().to_vec(),
            element: tensor.element_type(),
        };
        match table.walk(name) {
            Outcome::To(target) => {
                if target != *name {
                    report.renamed.push((name.clone(), target.clone()));
                }
                claims.entry(target).or_default().push(whole);
            }
            Outcome::Ignored(reason) => report.ignored.push((name.clone(), reason)),
            Outcome::Pieces(pieces) => {
                if pieces.len() > 1 {
                    report.split.push((name.clone(), pieces.iter().map(|(target, _)| target.clone()).collect()));
                }
                for (target, piece) in pieces {
                    match whole.cut(piece.rows, piece.role) {
                        Some(claim) => claims.entry(target).or_default().push(claim),
                        None => report.wrong_shape.push(WrongShape {
                            name: target,
                            tensor: name.clone(),
                            expected: vec![piece.rows.map_or(1, |(start, end)| end.unwrap_or(start + 1))],
                            found: tensor.shape().to_vec(),
                        }),
                    }
                }
            }
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
                    let mut part = whole.clone();
                    part.shape[0] = rows / count;
                    let length = part.shape.iter().product::<usize>();
                    part.numbers = Some((index * length, length));
                    claims.entry(target).or_default().push(part);
                }
            }
        }
    }
    claims
}

/// What makes a parameter, if it is all there and fits.
fn assign(target: &Target, claims: Vec<Claim>, table: &Table, report: &mut Report) -> Option<Assignment> {
    let unequal = |claim: &Claim, expected: &[usize]| WrongShape {
        name: target.name.clone(),
        tensor: claim.tensor.clone(),
        expected: expected.to_vec(),
        found: claim.shape.clone(),
    };
    let Made { claims, shape } = match put_together(claims) {
        Ok(made) => made,
        Err(Unmade::Twice(tensors)) => {
            report.duplicates.push((target.name.clone(), tensors));
            return None;
        }
        Err(Unmade::Lacking(there)) => {
            report.missing.push((format!("{} ({there})", target.name), None));
            return None;
        }
        Err(Unmade::Unequal(claim, expected)) => {
            report.wrong_shape.push(unequal(&claim, &expected));
            return None;
        }
    };
    for Claim { element, .. } in &claims {
        let float = matches!(element, ElementType::F64 | ElementType::F32 | ElementType::F16 | ElementType::Bf16);
        if *element == ElementType::Packed || (target.kind != Kind::Float && float) {
            let what = format!("{element} numbers for {:?} values", target.kind);
            report.wrong_type.push((target.name.clone(), what));
            return None;
        }
    }
    let adaptation = (shape != target.shape).then(|| table.adaptation(&target.name, &shape, &target.shape)).flatten();
    if shape != target.shape && adaptation.is_none() {
        let claim = Claim { shape, ..claims[0].clone() };
        report.wrong_shape.push(unequal(&claim, &target.shape));
        return None;
    }
    if let Some(adaptation) = adaptation {
        report.adapted.push((target.name.clone(), adaptation.name));
    }
    if claims.len() > 1 {
        report.joined.push((target.name.clone(), claims.iter().map(|claim| claim.tensor.clone()).collect()));
    }
    let other = claims.iter().find(|claim| claim.element != ElementType::F32);
    if let (Kind::Float, Some(claim)) = (target.kind, other) {
        report.converted.push((target.name.clone(), claim.element));
    }
    report.loaded_numbers += target.shape.iter().product::<usize>();
    Some(Assignment { claims, shape, adaptation })
}
