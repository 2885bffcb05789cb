//! Reads fixture folders and compares values with them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Array, recipe};

/// The root in the repository. Files a case `needs` besides its own are always read from here.
pub fn visible_root() -> PathBuf {
    crate::fixtures().join("goldens")
}

/// The root under test: `GROUNDLING_GOLDENS` if set, else [`visible_root`]. A relative path starts at the repository, since
/// cargo runs the tests of every crate in another folder.
pub fn root() -> PathBuf {
    std::env::var_os("GROUNDLING_GOLDENS").map_or_else(visible_root, |root| crate::repository().join(root))
}

/// One folder of fixtures.
pub struct Folder {
    path: PathBuf,
    /// Whether it is the repository's own, whose number of cases is known.
    own: bool,
    cases: Vec<Case>,
}

/// One entry of `cases.json`.
#[derive(Clone)]
pub struct Case {
    /// The entry as it stands.
    pub json: Value,
    folder: PathBuf,
}

impl Folder {
    /// Opens a folder of the root under test.
    ///
    /// # Panics
    /// If it is missing or its `cases.json` cannot be read.
    pub fn open(name: &str) -> Self {
        let path = root().join(name);
        let json = read_json(&path.join("cases.json"));
        let cases = json["cases"].as_array().unwrap_or_else(|| panic!("{}: no list of cases", path.display()));
        let cases = cases.iter().map(|json| Case { json: json.clone(), folder: path.clone() }).collect();
        Self { own: std::env::var_os("GROUNDLING_GOLDENS").is_none(), path, cases }
    }

    /// The cases of these kinds. On the repository's own root there must be exactly `expected`, on another at least one.
    ///
    /// # Panics
    /// If the number is wrong: a data-driven test that finds nothing would pass for ever.
    pub fn of_kinds(&self, kinds: &[&str], expected: usize) -> Vec<&Case> {
        let found: Vec<&Case> = self.cases.iter().filter(|case| kinds.contains(&case.kind())).collect();
        let place = self.path.display();
        if self.own {
            assert_eq!(found.len(), expected, "cases of kinds {kinds:?} in {place}");
        } else {
            assert!(!found.is_empty(), "no case of kinds {kinds:?} in {place}");
        }
        found
    }
}

impl Case {
    #[cfg(test)]
    pub(crate) fn from_json(json: Value, folder: PathBuf) -> Self {
        Self { json, folder }
    }

    /// Unique name in the folder.
    pub fn name(&self) -> &str {
        self.json["name"].as_str().expect("a case has a name")
    }

    /// What is tested.
    pub fn kind(&self) -> &str {
        self.json["kind"].as_str().expect("a case has a kind")
    }

    /// The seed, 0 if none is given.
    pub fn seed(&self) -> u64 {
        self.json.get("seed").and_then(Value::as_u64).unwrap_or(0)
    }

    /// The configuration as a typed record.
    ///
    /// # Panics
    /// If it does not fit.
    pub fn config<T: DeserializeOwned>(&self) -> T {
        serde_json::from_value(self.json["config"].clone())
            .unwrap_or_else(|error| panic!("{}: config: {error}", self.name()))
    }

    /// Path of a file beside the case.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// Path of the case's own file.
    pub fn file(&self) -> PathBuf {
        self.path(self.json["file"].as_str().expect("the case names a file"))
    }

    /// The case's own file as JSON, the part under `key` if it names one.
    pub fn file_json(&self) -> Value {
        let json = read_json(&self.file());
        match self.json.get("key").and_then(Value::as_str) {
            Some(key) => json[key].clone(),
            None => json,
        }
    }

    /// A tensor of the case's own file.
    ///
    /// # Panics
    /// If it is not there.
    pub fn tensor(&self, key: &str) -> Array {
        tensor(&self.file(), key)
    }

    /// An input, made by its recipe. Where a stored tensor stands beside another recipe, both must agree.
    ///
    /// # Panics
    /// If the case has no such input.
    pub fn input(&self, name: &str) -> Array {
        let recipe = self.json["inputs"].get(name).unwrap_or_else(|| panic!("{}: no input {name}", self.name()));
        let made = recipe::make(recipe, self.seed(), &|key| self.tensor(key));
        if let (Some(key), true) =
            (recipe.get("tensor").and_then(Value::as_str), recipe.as_object().map_or(0, |o| o.len()) > 1)
        {
            // A recipe may state decimals that the file can hold in f32 only.
            let (here, there) = (made.to_f32(), self.tensor(key).to_f32());
            assert_eq!(here, there, "{}: input {name} differs from {key}", self.name());
        }
        made
    }

    /// An input that is a list of texts.
    ///
    /// # Panics
    /// If the case has no such input, or it is something else.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let recipe = &self.json["inputs"][name];
        let texts = recipe["text"].as_array().unwrap_or_else(|| panic!("{}: {name} is no list of texts", self.name()));
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned();
        texts.iter().map(text).collect()
    }

    /// What the entries of the vector called `of` are: the list beside it, or in the JSON file it names.
    ///
    /// # Panics
    /// If no output made from `of` says so.
    pub fn entry_names(&self, of: &str) -> Vec<String> {
        let outputs = self.json["outputs"].as_object().into_iter().flatten();
        let names = outputs.filter(|(_, spec)| spec["of"] == of).find_map(|(_, spec)| spec.get("names"));
        let names = names.unwrap_or_else(|| panic!("{}: the entries of {of:?} have no names", self.name()));
        let names = match names["file"].as_str() {
            Some(file) => match names["key"].as_str() {
                Some(key) => read_json(&self.path(file))[key].clone(),
                None => read_json(&self.path(file)),
            },
            None => names.clone(),
        };
        serde_json::from_value(names).unwrap_or_else(|error| panic!("{}: names of {of:?}: {error}", self.name()))
    }

    /// A stored tensor by what it is: an output of this name, else an input.
    fn value_named(&self, name: &str) -> Array {
        let outputs = self.json["outputs"].as_object().into_iter().flatten();
        match outputs.into_iter().find(|(_, spec)| spec["of"] == name) {
            Some((key, _)) => self.tensor(key),
            None => self.input(name),
        }
    }

    /// Whether the case has an input of this name.
    pub fn has_input(&self, name: &str) -> bool {
        self.json["inputs"].get(name).is_some()
    }

    /// Starts comparing this case's outputs.
    pub fn report(&self) -> Report<'_> {
        Report { case: self, checked: BTreeSet::new(), failures: Vec::new() }
    }
}

/// Compares values with a case's `outputs` and remembers what failed, so that one run shows everything.
pub struct Report<'a> {
    case: &'a Case,
    checked: BTreeSet<String>,
    failures: Vec<String>,
}

impl Report<'_> {
    /// Compares the value called `of` with every output made from it.
    ///
    /// # Panics
    /// If no output is made from it: the test would check nothing.
    pub fn check(&mut self, of: &str, value: &Array) {
        let outputs = self.case.json["outputs"].as_object().expect("the case has outputs");
        let mut found = false;
        for (key, spec) in outputs.iter().filter(|(_, spec)| spec["of"] == of) {
            found = true;
            self.checked.insert(key.clone());
            if let Err(failure) = compare(self.case, key, spec, value) {
                self.failures.push(format!("  {key} ({of}): {failure}"));
            }
        }
        assert!(found, "{}: no output is made from {of:?}", self.case.name());
    }

    /// Whether an output is made from this value.
    pub fn wants(&self, of: &str) -> bool {
        self.case.json["outputs"].as_object().is_some_and(|outputs| outputs.values().any(|spec| spec["of"] == of))
    }

    /// Notes a failed condition that is no tensor comparison.
    pub fn require(&mut self, holds: bool, what: impl Into<String>) {
        if !holds {
            self.failures.push(format!("  {}", what.into()));
        }
    }

    /// Ends the comparison.
    ///
    /// # Panics
    /// If anything failed, or an output of the case was never compared.
    pub fn finish(self) {
        let outputs = self.case.json["outputs"].as_object().map(|o| o.keys().cloned().collect::<BTreeSet<_>>());
        let left: Vec<_> = outputs.unwrap_or_default().difference(&self.checked).cloned().collect();
        assert!(left.is_empty(), "{}: outputs never compared: {left:?}", self.case.name());
        assert!(self.failures.is_empty(), "{}:\n{}", self.case.name(), self.failures.join("\n"));
    }
}

/// Every field an entry of `outputs` may have; a rule we do not know would be a comparison we do not make.
const OUTPUT_FIELDS: [&str; 24] = [
    "of",
    "shape",
    "zero_rows",
    "sort",
    "flatten",
    "slice",
    "take",
    "reduce",
    "axes",
    "sample",
    "stats",
    "exact",
    "atol",
    "dev",
    "most",
    "rel_l2",
    "dev_l2",
    "names",
    "nan_rows",
    "non_finite",
    "skip",
    "ranked_by",
    "permute_within",
    "zero_outside",
];

fn compare(case: &Case, key: &str, spec: &Value, value: &Array) -> Result<(), String> {
    let fields = spec.as_object().into_iter().flatten().map(|(field, _)| field.as_str());
    let unknown: Vec<&str> = fields.filter(|f| !OUTPUT_FIELDS.contains(f)).collect();
    if !unknown.is_empty() {
        return Err(format!("unknown fields {unknown:?}"));
    }
    if let Some(shape) = spec.get("shape") {
        let shape: Vec<usize> = crate::array::usizes(shape);
        if value.shape != shape && !(shape.is_empty() && value.data.len() == 1) {
            return Err(format!("shape {:?}, expected {shape:?}", value.shape));
        }
    }
    let expected = case.tensor(key);
    if let Some(rect) = spec.get("zero_outside").and_then(Value::as_str) {
        zero_outside(value, &case.value_named(rect))?;
    }
    let found = value.cut(spec);
    if found.data.len() != expected.data.len() {
        return Err(format!("{} values, expected {} {:?}", found.data.len(), expected.data.len(), expected.shape));
    }
    let found = unpermuted(case, spec, found, &expected);
    let row_length = expected.shape.iter().skip(1).product::<usize>().max(1);
    let nan_rows: Vec<usize> = match spec.get("nan_rows") {
        Some(Value::Array(rows)) => rows.iter().map(crate::array::as_usize).collect(),
        Some(_) => (0..expected.data.len() / row_length)
            .filter(|r| expected.data[r * row_length..(r + 1) * row_length].iter().any(|v| !v.is_finite()))
            .collect(),
        None => Vec::new(),
    };
    let skip = spec.get("skip").and_then(Value::as_str).map(|skip| case.tensor(skip));
    let skipped = |index: usize| {
        nan_rows.contains(&(index / row_length))
            || skip.as_ref().is_some_and(|mask| {
                // Per sample, on the last two axes: the channels between share one mask.
                let samples = mask.shape[0];
                let plane = mask.data.len() / samples;
                let sample = index / (expected.data.len() / samples);
                mask.data[sample * plane + index % plane] == 1.0
            })
    };
    let pairs: Vec<(usize, f64, f64)> =
        (0..expected.data.len()).filter(|&i| !skipped(i)).map(|i| (i, found.data[i], expected.data[i])).collect();
    judge(spec, &pairs, key)
}

/// Padding is not close to zero but zero: outside `[top, left, height, width]` of the last two axes.
fn zero_outside(value: &Array, rect: &Array) -> Result<(), String> {
    let mut rest = value.clone();
    let rect: Vec<usize> = rect.data.iter().map(|&v| v as usize).collect();
    recipe::keep_inside(&mut rest.data, &value.shape, &rect);
    match (0..rest.data.len()).find(|&i| rest.data[i] != value.data[i]) {
        Some(i) => Err(format!("value {i} is {}, expected exactly 0 outside {rect:?}", value.data[i])),
        None => Ok(()),
    }
}

fn judge(spec: &Value, pairs: &[(usize, f64, f64)], key: &str) -> Result<(), String> {
    let number = |name: &str| spec.get(name).and_then(Value::as_f64);
    if let Some(&(i, a, b)) = pairs.iter().find(|(_, a, b)| {
        let alike = a == b || (a.is_nan() && b.is_nan());
        (!a.is_finite() || !b.is_finite()) && !alike
    }) {
        return Err(format!("value {i} is {a}, expected {b}"));
    }
    let finite = || pairs.iter().filter(|(_, a, b)| a.is_finite() && b.is_finite());
    if spec.get("exact") == Some(&Value::Bool(true)) {
        let wrong = finite().filter(|(_, a, b)| a != b).count();
        return match finite().find(|(_, a, b)| a != b) {
            Some((i, a, b)) => {
                Err(format!("value {i} is {a}, expected exactly {b}; {wrong} of {} differ", pairs.len()))
            }
            None => Ok(()),
        };
    }
    if let Some(limit) = number("rel_l2") {
        let norm = |f: &dyn Fn(f64, f64) -> f64| finite().map(|&(_, a, b)| f(a, b).powi(2)).sum::<f64>().sqrt();
        let relative = norm(&|a, b| a - b) / norm(&|_, b| b).max(f64::MIN_POSITIVE);
        return if relative <= limit {
            Ok(())
        } else {
            Err(format!("relative L2 distance {relative:.3e} > {limit:.3e}"))
        };
    }
    let Some(atol) = number("atol") else { return Err(format!("{key} states no tolerance")) };
    let worst = finite().max_by(|x, y| (x.1 - x.2).abs().total_cmp(&(y.1 - y.2).abs()));
    if let Some(&(i, a, b)) = worst.filter(|(_, a, b)| (a - b).abs() > atol) {
        let wrong = finite().filter(|(_, a, b)| (a - b).abs() > atol).count();
        return Err(format!(
            "value {i} is {a}, expected {b}: off by {:.3e} > {atol:.3e}; {wrong} of {} too far",
            (a - b).abs(),
            pairs.len()
        ));
    }
    if let Some(most) = spec.get("most") {
        let (fraction, tight) = (most["fraction"].as_f64().unwrap_or(1.0), most["atol"].as_f64().unwrap_or(0.0));
        let near = pairs.iter().filter(|(_, a, b)| a == b || (a - b).abs() <= tight).count() as f64;
        if near < fraction * pairs.len() as f64 {
            return Err(format!("only {near} of {} values within {tight:.3e}, expected {fraction}", pairs.len()));
        }
    }
    Ok(())
}

/// Undoes allowed swaps: rows whose entries in the ranking tensor differ by less than a gap may stand in any order.
fn unpermuted(case: &Case, spec: &Value, found: Array, expected: &Array) -> Array {
    let Some(ranking) = spec.get("ranked_by").and_then(Value::as_str) else { return found };
    let gap = spec.get("permute_within").and_then(Value::as_f64).unwrap_or(0.0);
    let ranks = case.tensor(ranking);
    let rows = ranks.data.len();
    if rows == 0 || !expected.data.len().is_multiple_of(rows) {
        return found;
    }
    let length = expected.data.len() / rows;
    let mut ordered = found.clone();
    let mut start = 0;
    while start < rows {
        let mut end = start + 1;
        while end < rows && (ranks.data[end] - ranks.data[end - 1]).abs() < gap {
            end += 1;
        }
        let mut free: Vec<usize> = (start..end).collect();
        for row in start..end {
            let target = &expected.data[row * length..(row + 1) * length];
            let distance = |r: usize| -> f64 {
                found.data[r * length..(r + 1) * length].iter().zip(target).map(|(a, b)| (a - b).abs()).sum()
            };
            let best = (0..free.len()).min_by(|&a, &b| distance(free[a]).total_cmp(&distance(free[b]))).unwrap_or(0);
            let source = free.swap_remove(best);
            ordered.data[row * length..(row + 1) * length]
                .copy_from_slice(&found.data[source * length..(source + 1) * length]);
        }
        start = end;
    }
    ordered
}

/// Reads a JSON file.
///
/// # Panics
/// If it is missing or no JSON.
pub fn read_json(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Reads one tensor of a safetensors file.
///
/// # Panics
/// If file or tensor is missing, or the type is one no fixture uses.
pub fn tensor(path: &Path, key: &str) -> Array {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let view = file.tensor(key).unwrap_or_else(|error| panic!("{}: {key}: {error}", path.display()));
    let data = view.data();
    macro_rules! numbers {
        ($t:ty) => {
            data.chunks_exact(size_of::<$t>())
                .map(|b| <$t>::from_le_bytes(b.try_into().expect("whole numbers")) as f64)
                .collect()
        };
    }
    let values: Vec<f64> = match view.dtype() {
        Dtype::F32 => numbers!(f32),
        Dtype::F64 => numbers!(f64),
        Dtype::I64 => numbers!(i64),
        Dtype::I32 => numbers!(i32),
        Dtype::U8 | Dtype::BOOL => data.iter().map(|&b| f64::from(b)).collect(),
        other => panic!("{}: {key} is of type {other:?}", path.display()),
    };
    Array::new(view.shape(), values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judged(spec: Value, found: &[f64], expected: &[f64]) -> Result<(), String> {
        let pairs: Vec<_> = found.iter().zip(expected).enumerate().map(|(i, (&a, &b))| (i, a, b)).collect();
        judge(&spec, &pairs, "x")
    }

    #[test]
    fn padding_must_be_exactly_zero() {
        let rect = Array::new([4], vec![0.0, 1.0, 1.0, 1.0]);
        assert!(zero_outside(&Array::new([2, 2], vec![0.0, 5.0, 0.0, 0.0]), &rect).is_ok());
        assert!(zero_outside(&Array::new([2, 2], vec![0.0, 5.0, 1e-9, 0.0]), &rect).is_err());
    }

    #[test]
    fn texts_and_names() {
        let spec = json!({"of": "gradnorms", "names": ["a.weight", "a.bias"]});
        let json = json!({"name": "x", "inputs": {"text": {"text": ["two zebras"]}}, "outputs": {"norms": spec}});
        let case = Case::from_json(json, PathBuf::new());
        assert_eq!(case.texts("text"), ["two zebras"]);
        assert_eq!(case.entry_names("gradnorms"), ["a.weight", "a.bias"]);
    }

    #[test]
    fn a_rule_we_do_not_know_is_not_passed_over() {
        let case = Case::from_json(json!({"name": "x"}), PathBuf::new());
        let refused = compare(&case, "y", &json!({"of": "y", "atoll": 1.0}), &Array::scalar(0.0));
        assert_eq!(refused.unwrap_err(), "unknown fields [\"atoll\"]");
    }

    #[test]
    fn every_rule_can_fail() {
        let exact = json!({"exact": true});
        assert!(judged(exact.clone(), &[1.0, 2.0], &[1.0, 2.0]).is_ok());
        assert!(judged(exact, &[1.0, 2.0], &[1.0, 3.0]).is_err());
        let close = json!({"atol": 0.1});
        assert!(judged(close.clone(), &[1.05], &[1.0]).is_ok());
        assert!(judged(close.clone(), &[1.2], &[1.0]).is_err());
        assert!(judged(close.clone(), &[f64::NAN], &[1.0]).is_err());
        assert!(judged(close.clone(), &[f64::INFINITY], &[f64::INFINITY]).is_ok());
        assert!(judged(close, &[f64::INFINITY], &[f64::NEG_INFINITY]).is_err());
        let most = json!({"atol": 1.0, "most": {"fraction": 0.5, "atol": 0.01}});
        assert!(judged(most.clone(), &[1.0, 1.5], &[1.0, 1.0]).is_ok());
        assert!(judged(most, &[1.5, 1.5], &[1.0, 1.0]).is_err());
        let l2 = json!({"rel_l2": 0.1});
        assert!(judged(l2.clone(), &[1.05, 0.0], &[1.0, 0.0]).is_ok());
        assert!(judged(l2, &[1.2, 0.0], &[1.0, 0.0]).is_err());
        assert!(judged(json!({}), &[1.0], &[1.0]).is_err(), "no tolerance stated");
    }
}
