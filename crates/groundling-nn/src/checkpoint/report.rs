//! What happened to every tensor and every parameter.

use std::fmt;
use std::path::PathBuf;

use super::ElementType;
use super::names::{common_prefix, nearest};

/// The account of an import, before or after it was done.
///
/// Names of tensors are those of the checkpoint, without container and wrapper; names of parameters are those of the module.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// The file.
    pub path: PathBuf,
    /// Where in the file the weights stand.
    pub container: Option<String>,
    /// Number of parameters that take a value from the checkpoint.
    pub loaded: usize,
    /// Numbers in them.
    pub loaded_numbers: usize,
    /// Tensors that go to a parameter of another name: from, to.
    pub renamed: Vec<(String, String)>,
    /// Tensors that are cut up: from, to.
    pub split: Vec<(String, Vec<String>)>,
    /// Parameters that several tensors make up: parameter, tensors.
    pub joined: Vec<(String, Vec<String>)>,
    /// Tensors that are made to fit: name of the parameter, how.
    pub adapted: Vec<(String, &'static str)>,
    /// Tensors whose numbers change their type: name, from.
    pub converted: Vec<(String, ElementType)>,
    /// Tensors that are not needed: name, reason.
    pub ignored: Vec<(String, &'static str)>,
    /// Parameters that keep their initial value: name, reason.
    pub kept: Vec<(String, &'static str)>,
    /// Parameters for which there is no tensor: name, and the unused tensor most like it.
    pub missing: Vec<(String, Option<String>)>,
    /// Tensors that no parameter takes.
    pub unused: Vec<String>,
    /// Tensors of the wrong shape.
    pub wrong_shape: Vec<WrongShape>,
    /// Parameters that several tensors claim: parameter, tensors.
    pub duplicates: Vec<(String, Vec<String>)>,
    /// Tensors of a type that no parameter takes: name, what is wrong.
    pub wrong_type: Vec<(String, String)>,
    /// Parameters with an infinite value or a NaN. Found while loading; a plan has not looked.
    pub not_finite: Vec<String>,
}

/// A tensor whose shape is not that of its parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongShape {
    /// The parameter.
    pub name: String,
    /// The tensor.
    pub tensor: String,
    /// What the module needs, as a file would have it.
    pub expected: Vec<usize>,
    /// What the file has.
    pub found: Vec<usize>,
}

impl Report {
    /// Nothing missing, nothing unused, every shape right.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
            && self.unused.is_empty()
            && self.wrong_shape.is_empty()
            && self.duplicates.is_empty()
            && self.wrong_type.is_empty()
    }

    /// For every missing parameter, the unused tensor that looks most like it.
    pub(crate) fn suggest(&mut self) {
        // Beyond this many the trouble is not a slip of the pen.
        if self.missing.len() > 50 || self.unused.len() > 5000 {
            return;
        }
        for (name, near) in &mut self.missing {
            *near = nearest(name, self.unused.iter().map(String::as_str)).map(str::to_owned);
        }
    }

    /// What a person can do about a mismatch.
    pub(crate) fn hint(&self) -> Option<String> {
        let missing: Vec<String> = self.missing.iter().map(|(name, _)| name.clone()).collect();
        if let Some(prefix) = common_prefix(&missing, &self.unused) {
            return Some(format!("every missing name is there with {prefix:?} before it: rename it away"));
        }
        if let [wrong, ..] = &self.wrong_shape[..] {
            let size = format!("{:?} in the file, {:?} in the configuration", wrong.found, wrong.expected);
            return Some(format!("the configuration is for another size of the model ({}: {size})", wrong.name));
        }
        if self.loaded == 0 && !self.missing.is_empty() {
            return Some("no name fits: this is a checkpoint of another model, or it needs another key table".into());
        }
        None
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.container {
            Some(container) => format!("{} (under `{container}`)", self.path.display()),
            None => self.path.display().to_string(),
        };
        match self.is_complete() {
            true => writeln!(f, "{place}: {} parameters, {} numbers", self.loaded, self.loaded_numbers)?,
            false => writeln!(f, "{place}: does not fit the model; nothing was loaded")?,
        }
        list(f, "missing", &self.missing, |(name, near)| match near {
            Some(near) => format!("{name}; nearest unused: {near}"),
            None => name.clone(),
        })?;
        list(f, "unused", &self.unused, Clone::clone)?;
        list(f, "wrong shape", &self.wrong_shape, |wrong| {
            let from = if wrong.tensor == wrong.name { String::new() } else { format!(" (from {})", wrong.tensor) };
            format!("{}{from}: expected {:?}, found {:?}", wrong.name, wrong.expected, wrong.found)
        })?;
        list(f, "claimed twice", &self.duplicates, |(name, from)| format!("{name}: by {}", from.join(" and ")))?;
        list(f, "wrong type", &self.wrong_type, |(name, what)| format!("{name}: {what}"))?;
        list(f, "not finite", &self.not_finite, Clone::clone)?;
        grouped(f, "kept as initialised", &self.kept)?;
        grouped(f, "ignored", &self.ignored)?;
        grouped(f, "adapted", &self.adapted)?;
        list(f, "split", &self.split, |(from, to)| format!("{from} -> {}", to.join(", ")))?;
        list(f, "joined", &self.joined, |(to, from)| format!("{to} <- {}", from.join(", ")))?;
        list(f, "renamed", &self.renamed, |(from, to)| format!("{from} -> {to}"))?;
        grouped(f, "converted to f32", &self.converted)
    }
}

/// A heading with the number of items, and a line for each reason: the first name, and how many more there are.
fn grouped<R: fmt::Display + PartialEq>(f: &mut fmt::Formatter<'_>, what: &str, items: &[(String, R)]) -> fmt::Result {
    let mut groups: Vec<(&R, &str, usize)> = Vec::new();
    for (name, reason) in items {
        match groups.iter_mut().find(|(known, ..)| *known == reason) {
            Some((_, _, count)) => *count += 1,
            None => groups.push((reason, name, 1)),
        }
    }
    if !items.is_empty() {
        writeln!(f, "  {what}: {}", items.len())?;
    }
    for (reason, name, count) in groups {
        match count {
            1 => writeln!(f, "    {name}: {reason}")?,
            _ => writeln!(f, "    {name} and {} more: {reason}", count - 1)?,
        }
    }
    Ok(())
}

/// A heading with the number of items, and at most eight of them.
fn list<T>(f: &mut fmt::Formatter<'_>, what: &str, items: &[T], line: impl Fn(&T) -> String) -> fmt::Result {
    const SHOWN: usize = 8;
    if items.is_empty() {
        return Ok(());
    }
    writeln!(f, "  {what}: {}", items.len())?;
    for item in items.iter().take(SHOWN) {
        writeln!(f, "    {}", line(item))?;
    }
    if items.len() > SHOWN {
        writeln!(f, "    ... {} more", items.len() - SHOWN)?;
    }
    Ok(())
}
