//! What a case says about the module under test: its parameters, and the scalar that is differentiated.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::array::usizes;
use crate::goldens::{read_json, visible_root};
use crate::{Array, Case, fill};

/// One term of the scalar that a case differentiates: `sum(output * weights(shape of output))`.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeTerm {
    /// Name of the value.
    pub output: String,
    /// Only these rows of axis 0. Cut them out before multiplying: the rows around them may hold NaN, and NaN times 0 is NaN.
    pub rows: Option<std::ops::Range<usize>>,
    weights: ProbeWeights,
}

#[derive(Debug, Clone, PartialEq)]
enum ProbeWeights {
    Constant(f64),
    Fill { name: String, lo: f64, hi: f64, seed: u64 },
}

impl ProbeTerm {
    /// What the value is multiplied with, element by element, before the sum.
    pub fn weights(&self, shape: &[usize]) -> Array {
        match &self.weights {
            ProbeWeights::Constant(weight) => Array::new(shape, vec![*weight; shape.iter().product()]),
            ProbeWeights::Fill { name, lo, hi, seed } => fill::uniform(name, shape, *lo, *hi, *seed),
        }
    }
}

impl Case {
    /// A parameter or buffer under the key of the module's own state dict: filled under `key_prefix` + key, then changed as
    /// the case's `weights` say. `None` where the module keeps the value it was built with.
    ///
    /// # Panics
    /// If an entry of `weights` is none, or states values that do not fit the shape.
    pub fn parameter(&self, key: &str, shape: &[usize]) -> Option<Array> {
        let prefix = self.json.get("key_prefix").and_then(Value::as_str).unwrap_or("");
        let mut value = (!key.ends_with("num_batches_tracked"))
            .then(|| fill::parameter(&format!("{prefix}{key}"), shape, self.seed()));
        for change in self.json.get("weights").and_then(Value::as_array).into_iter().flatten() {
            let pattern = change["key"].as_str().unwrap_or_else(|| panic!("{}: {change} has no key", self.name()));
            let Some(star) = matched(pattern, key) else { continue };
            value = self.changed(change, value, &star, shape);
        }
        value
    }

    fn changed(&self, change: &Value, value: Option<Array>, star: &str, shape: &[usize]) -> Option<Array> {
        if let Some(factor) = change.get("mul").and_then(Value::as_f64) {
            let scaled = |array: Array| array.data.iter().map(|v| f64::from((v * factor) as f32)).collect();
            return value.map(|array| Array::new(shape, scaled(array)));
        }
        if let Some(stated) = change.get("value") {
            let stated = Array::from_json(stated);
            let data: Vec<f64> = match stated.data.as_slice() {
                [one] => vec![*one; shape.iter().product()],
                all => all.to_vec(),
            };
            return Some(Array::new(shape, data.iter().map(|&v| f64::from(v as f32)).collect()));
        }
        if let Some(name) = change.get("as").and_then(Value::as_str) {
            return Some(fill::parameter(&name.replace('*', star), shape, self.seed()));
        }
        assert!(change.get("keep") == Some(&Value::Bool(true)), "{}: unknown change {change}", self.name());
        None
    }

    /// Keys and shapes of the parameters, where the case lists them (`params`).
    ///
    /// # Panics
    /// If the list, or the file it stands in, is none.
    pub fn params(&self) -> BTreeMap<String, Vec<usize>> {
        let listed = self.json.get("params").unwrap_or_else(|| panic!("{}: no params", self.name()));
        let listed = match (listed.get("file").and_then(Value::as_str), listed.get("key").and_then(Value::as_str)) {
            (Some(file), Some(key)) => read_json(&visible_root().join(file))[key].clone(),
            _ => listed.clone(),
        };
        let map = listed.as_object().unwrap_or_else(|| panic!("{}: params are no map", self.name()));
        map.iter().map(|(key, shape)| (key.clone(), usizes(shape))).collect()
    }

    /// The terms of the scalar that is differentiated; empty if the case has no gradients.
    ///
    /// # Panics
    /// If a term has a form this reader does not know.
    pub fn probe(&self) -> Vec<ProbeTerm> {
        let terms = self.json.get("probe").and_then(Value::as_array);
        terms.into_iter().flatten().map(|term| self.probe_term(term)).collect()
    }

    fn probe_term(&self, term: &Value) -> ProbeTerm {
        let number = |key: &str| term.get(key).and_then(Value::as_f64);
        let unknown = || -> ! { panic!("{}: unknown term {term} of the probe", self.name()) };
        let Some(output) = term["output"].as_str() else { unknown() };
        let weights = match (number("weight"), term.get("fill").and_then(Value::as_str)) {
            (Some(weight), None) => ProbeWeights::Constant(weight),
            (None, Some(name)) => ProbeWeights::Fill {
                name: name.to_owned(),
                lo: number("lo").unwrap_or(0.0),
                hi: number("hi").unwrap_or(1.0),
                seed: term.get("seed").and_then(Value::as_u64).unwrap_or(self.seed()),
            },
            _ => unknown(),
        };
        let rows = term.get("rows").map(usizes).map(|rows| match rows.as_slice() {
            &[start, end] => start..end,
            _ => unknown(),
        });
        ProbeTerm { output: output.to_owned(), rows, weights }
    }
}

/// What the first `*` of a pattern stands for in `text`, if the pattern fits; a `*` stands for any text, dots too.
fn matched(pattern: &str, text: &str) -> Option<String> {
    let Some((before, after)) = pattern.split_once('*') else {
        return (pattern == text).then(String::new);
    };
    let rest = text.strip_prefix(before)?;
    let ends = (0..=rest.len()).rev().filter(|&end| rest.is_char_boundary(end));
    ends.filter(|&end| matched(after, &rest[end..]).is_some()).map(|end| rest[..end].to_owned()).next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn case(json: Value) -> Case {
        Case::from_json(json, std::path::PathBuf::new())
    }

    #[test]
    fn parameters_are_filled_under_their_full_name_and_changed_in_order() {
        let plain = case(json!({"name": "x", "seed": 5, "key_prefix": "net."}));
        let filled = fill::parameter("net.a.weight", &[2, 3], 5);
        assert_eq!(plain.parameter("a.weight", &[2, 3]), Some(filled.clone()));
        assert_eq!(plain.parameter("bn.num_batches_tracked", &[]), None);
        let changed = case(json!({"name": "x", "seed": 5, "key_prefix": "net.", "weights": [
            {"key": "a.*", "mul": 8.0},
            {"key": "*.pos_x", "keep": true},
            {"key": "decoder.box.*", "as": "box.*"},
            {"key": "decoder.box.0.bias", "mul": 2.0},
            {"key": "scale", "value": 0.9},
            {"key": "alpha", "value": [2.5, -3.0]},
        ]}));
        let eight: Vec<f64> = filled.data.iter().map(|v| v * 8.0).collect();
        assert_eq!(changed.parameter("a.weight", &[2, 3]).unwrap().data, eight);
        assert_eq!(changed.parameter("layer.0.pos_x", &[4]), None);
        assert_eq!(changed.parameter("decoder.box.1.bias", &[2]), Some(fill::parameter("box.1.bias", &[2], 5)));
        let twice: Vec<f64> = fill::parameter("box.0.bias", &[2], 5).data.iter().map(|v| v * 2.0).collect();
        assert_eq!(changed.parameter("decoder.box.0.bias", &[2]).unwrap().data, twice);
        assert_eq!(changed.parameter("scale", &[3]).unwrap().to_f32(), [0.9; 3]);
        assert_eq!(changed.parameter("alpha", &[2]).unwrap().data, [2.5, -3.0]);
        assert_eq!(changed.parameter("b", &[2]), Some(fill::parameter("net.b", &[2], 5)));
    }

    #[test]
    fn probes_are_read() {
        let case = case(json!({"name": "x", "seed": 3, "probe": [
            {"output": "a", "weight": -1.0, "rows": [12, 36]},
            {"output": "b", "fill": "grad", "lo": -1, "hi": 1},
        ]}));
        let [first, second] = case.probe().try_into().unwrap();
        assert_eq!((first.output.as_str(), first.rows.clone()), ("a", Some(12..36)));
        assert_eq!(first.weights(&[2]).data, [-1.0, -1.0]);
        assert_eq!(second.weights(&[4]), fill::uniform("grad", &[4], -1.0, 1.0, 3));
    }

    #[test]
    fn patterns() {
        for (pattern, text, star) in [
            ("a.b", "a.b", Some("")),
            ("a.*", "a.b.c", Some("b.c")),
            ("*.decoder.V", "x.0.decoder.V", Some("x.0")),
            ("a.*.bias", "a.1.bias", Some("1")),
            ("a.*.bias", "a.1.weight", None),
            ("*.a.*", "x.a.b", Some("x")),
        ] {
            assert_eq!(matched(pattern, text).as_deref(), star, "{pattern} {text}");
        }
    }
}
