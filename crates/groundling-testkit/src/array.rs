//! A host array of numbers, and the steps by which a fixture is cut from a full value.

use serde_json::Value;

/// Row-major numbers with a shape. `f64` holds every value of the fixtures exactly.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Sizes of the axes; empty for a scalar.
    pub shape: Vec<usize>,
    /// Values, last axis fastest.
    pub data: Vec<f64>,
}

impl Array {
    /// An array of this shape.
    ///
    /// # Panics
    /// If the number of values is wrong.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<f64>) -> Self {
        let shape = shape.into();
        assert_eq!(shape.iter().product::<usize>(), data.len(), "an array of shape {shape:?}");
        Self { shape, data }
    }

    /// From any numbers that convert.
    ///
    /// # Panics
    /// If the number of values is wrong.
    pub fn from_values<T: Copy + Into<f64>>(shape: impl Into<Vec<usize>>, values: &[T]) -> Self {
        Self::new(shape, values.iter().map(|&v| v.into()).collect())
    }

    /// A scalar.
    pub fn scalar(value: f64) -> Self {
        Self::new([], vec![value])
    }

    /// From nested JSON lists.
    ///
    /// # Panics
    /// If they are ragged or hold something else than numbers.
    pub fn from_json(value: &Value) -> Self {
        let mut shape = Vec::new();
        let mut level = value;
        while let Value::Array(items) = level {
            shape.push(items.len());
            let Some(first) = items.first() else { break };
            level = first;
        }
        let mut data = Vec::new();
        collect(value, &mut data);
        Self::new(shape, data)
    }

    /// Values as `f32`.
    pub fn to_f32(&self) -> Vec<f32> {
        self.data.iter().map(|&v| v as f32).collect()
    }

    /// Values as bytes.
    ///
    /// # Panics
    /// If a value is not a whole number in 0..256.
    pub fn to_u8(&self) -> Vec<u8> {
        let byte = |v: f64| {
            assert!(v.fract() == 0.0 && (0.0..256.0).contains(&v), "{v} is no byte");
            v as u8
        };
        self.data.iter().map(|&v| byte(v)).collect()
    }

    /// Stride of each axis, in values.
    fn strides(&self) -> Vec<usize> {
        let mut strides = vec![1; self.shape.len()];
        for axis in (0..self.shape.len().saturating_sub(1)).rev() {
            strides[axis] = strides[axis + 1] * self.shape[axis + 1];
        }
        strides
    }

    /// The given indices of one axis.
    pub fn take(&self, axis: usize, indices: &[usize]) -> Self {
        let stride = self.strides()[axis];
        let length = self.shape[axis];
        let mut data = Vec::new();
        for block in self.data.chunks(stride * length) {
            for &index in indices {
                assert!(index < length, "index {index} on axis {axis} of {:?}", self.shape);
                data.extend_from_slice(&block[index * stride..(index + 1) * stride]);
            }
        }
        let mut shape = self.shape.clone();
        shape[axis] = indices.len();
        Self::new(shape, data)
    }

    fn reduced(&self, axis: usize, reduce: impl Fn(&[f64]) -> f64) -> Self {
        let stride = self.strides()[axis];
        let length = self.shape[axis];
        let mut data = Vec::with_capacity(self.data.len() / length.max(1));
        let mut line = vec![0.0; length];
        for block in self.data.chunks(stride * length) {
            for offset in 0..stride {
                for (index, value) in line.iter_mut().enumerate() {
                    *value = block[index * stride + offset];
                }
                data.push(reduce(&line));
            }
        }
        let mut shape = self.shape.clone();
        shape.remove(axis);
        Self::new(shape, data)
    }

    /// Cut as an entry of `outputs` says: `zero_rows`, `sort`, `flatten`, `slice`, `take`, `reduce`, then `sample` or
    /// `stats`.
    pub fn cut(&self, spec: &Value) -> Self {
        let mut array = self.clone();
        if let Some(rows) = spec.get("zero_rows") {
            let row_length = array.shape.iter().skip(1).product::<usize>();
            for row in usizes(rows) {
                array.data[row * row_length..(row + 1) * row_length].fill(0.0);
            }
        }
        if let Some(axis) = spec.get("sort").and_then(Value::as_i64) {
            let axis = if axis < 0 { array.shape.len() as i64 + axis } else { axis } as usize;
            array = array.sorted(axis);
        }
        if spec.get("flatten").is_some_and(|f| f != &Value::Bool(false)) {
            array.shape = vec![array.data.len()];
        }
        if let Some(Value::Array(slices)) = spec.get("slice") {
            array = array.sliced(slices);
        }
        if let Some(Value::Array(takes)) = spec.get("take") {
            for take in takes {
                array = array.take(as_usize(&take[0]), &usizes(&take[1]));
            }
        }
        if let Some(reduce) = spec.get("reduce") {
            // The text of the format has the name and the axes side by side, its files have them in one object.
            let (how, axes) = match reduce {
                Value::Object(_) => (&reduce["op"], &reduce["axes"]),
                name => (name, &spec["axes"]),
            };
            let how = how.as_str().unwrap_or_else(|| panic!("{reduce} is no reduction"));
            array = array.reduced_over(how, &usizes(axes));
        }
        if let Some(count) = spec.get("sample").and_then(Value::as_u64) {
            array = array.sampled(count as usize);
        } else if spec.get("stats") == Some(&Value::Bool(true)) {
            array = array.stats();
        }
        array
    }

    fn sorted(&self, axis: usize) -> Self {
        let stride = self.strides()[axis];
        let length = self.shape[axis];
        let mut data = self.data.clone();
        for block in data.chunks_mut(stride * length) {
            for offset in 0..stride {
                let mut line: Vec<f64> = (0..length).map(|i| block[i * stride + offset]).collect();
                line.sort_by(f64::total_cmp);
                line.into_iter().enumerate().for_each(|(i, v)| block[i * stride + offset] = v);
            }
        }
        Self::new(self.shape.clone(), data)
    }

    fn sliced(&self, slices: &[Value]) -> Self {
        let mut array = self.clone();
        let mut removed = Vec::new();
        for slice in slices {
            let slice = slice.as_array().expect("a slice is a list");
            let axis = as_usize(&slice[0]);
            let indices = match slice.len() {
                2 => {
                    removed.push(axis);
                    vec![as_usize(&slice[1])]
                }
                _ => {
                    let step = slice.get(3).map_or(1, as_usize);
                    (as_usize(&slice[1])..as_usize(&slice[2]).min(array.shape[axis])).step_by(step).collect()
                }
            };
            array = array.take(axis, &indices);
        }
        removed.sort_unstable();
        for axis in removed.into_iter().rev() {
            array.shape.remove(axis);
        }
        array
    }

    fn reduced_over(&self, how: &str, axes: &[usize]) -> Self {
        let mut axes = axes.to_vec();
        axes.sort_unstable();
        let count: usize = axes.iter().map(|&a| self.shape[a]).product();
        let n = count as f64;
        let mut array = self.clone();
        match how {
            "rms" | "l2" => array.data.iter_mut().for_each(|v| *v *= *v),
            "absmax" => array.data.iter_mut().for_each(|v| *v = v.abs()),
            "mean" | "sum" => {}
            other => panic!("unknown reduce {other:?}"),
        }
        for &axis in axes.iter().rev() {
            array = if how == "absmax" {
                array.reduced(axis, |line| line.iter().copied().fold(0.0, max_or_nan))
            } else {
                array.reduced(axis, |line| line.iter().sum())
            };
        }
        match how {
            "mean" => array.data.iter_mut().for_each(|v| *v /= n),
            "rms" => array.data.iter_mut().for_each(|v| *v = (*v / n).sqrt()),
            "l2" => array.data.iter_mut().for_each(|v| *v = v.sqrt()),
            _ => {}
        }
        array
    }

    /// The probe rule: all values if there are at most `count`, else those at `(j * 2654435761) mod N`.
    fn sampled(&self, count: usize) -> Self {
        let n = self.data.len() as u64;
        if self.data.len() <= count {
            return Self::new([self.data.len()], self.data.clone());
        }
        let at = |j: u64| self.data[(j.wrapping_mul(2_654_435_761) % n) as usize];
        Self::new([count], (0..count as u64).map(at).collect())
    }

    /// Mean, mean magnitude, root mean square, minimum, maximum.
    fn stats(&self) -> Self {
        let n = self.data.len() as f64;
        let sum = |f: &dyn Fn(f64) -> f64| self.data.iter().map(|&v| f(v)).sum::<f64>();
        let min = self.data.iter().copied().fold(f64::INFINITY, f64::min);
        let max = self.data.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Self::new([5], vec![sum(&|v| v) / n, sum(&f64::abs) / n, (sum(&|v| v * v) / n).sqrt(), min, max])
    }
}

/// The larger number, NaN if one is: `f64::max` would hide it.
fn max_or_nan(a: f64, b: f64) -> f64 {
    if b > a || b.is_nan() { b } else { a }
}

fn collect(value: &Value, data: &mut Vec<f64>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, data)),
        Value::Bool(b) => data.push(f64::from(u8::from(*b))),
        Value::Null => data.push(f64::NAN),
        other => data.push(other.as_f64().unwrap_or_else(|| panic!("{other} is no number"))),
    }
}

pub(crate) fn as_usize(value: &Value) -> usize {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no index")) as usize
}

pub(crate) fn usizes(value: &Value) -> Vec<usize> {
    match value {
        Value::Array(items) => items.iter().map(as_usize).collect(),
        other => vec![as_usize(other)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn count(shape: &[usize]) -> Array {
        let n = shape.iter().product::<usize>();
        Array::new(shape, (0..n).map(|v| v as f64).collect())
    }

    #[test]
    fn slices_count_axes_before_removal() {
        let cut = count(&[2, 3, 4]).cut(&json!({"slice": [[0, 1], [2, 0, 4, 2]]}));
        assert_eq!(cut, Array::new([3, 2], vec![12.0, 14.0, 16.0, 18.0, 20.0, 22.0]));
    }

    #[test]
    fn reductions() {
        let array = count(&[2, 3]);
        assert_eq!(array.cut(&json!({"reduce": {"op": "sum", "axes": [1]}})).data, [3.0, 12.0]);
        assert_eq!(array.cut(&json!({"reduce": {"op": "mean", "axes": [0, 1]}})).data, [2.5]);
        assert_eq!(array.cut(&json!({"reduce": {"op": "absmax", "axes": [0]}})).data, [3.0, 4.0, 5.0]);
        assert_eq!(array.cut(&json!({"reduce": {"op": "l2", "axes": [1]}})).data[0], 5f64.sqrt());
        assert_eq!(array.cut(&json!({"reduce": "sum", "axes": [1]})).data, [3.0, 12.0]);
        let hole = Array::new([3], vec![1.0, f64::NAN, 2.0]);
        assert!(hole.cut(&json!({"reduce": {"op": "absmax", "axes": [0]}})).data[0].is_nan());
    }

    #[test]
    fn sampling_follows_the_probe_rule() {
        let array = count(&[10, 100]);
        let sampled = array.cut(&json!({"sample": 4}));
        let expected: Vec<f64> = (0..4u64).map(|j| (j * 2_654_435_761 % 1000) as f64).collect();
        assert_eq!(sampled.data, expected);
        assert_eq!(array.cut(&json!({"sample": 1000})).data, array.data);
    }

    #[test]
    fn zero_rows_sort_and_flatten() {
        let array = Array::new([2, 2], vec![4.0, 1.0, 3.0, 2.0]);
        assert_eq!(array.cut(&json!({"zero_rows": [1]})).data, [4.0, 1.0, 0.0, 0.0]);
        assert_eq!(array.cut(&json!({"sort": 1})).data, [1.0, 4.0, 2.0, 3.0]);
        assert_eq!(array.cut(&json!({"flatten": true})).shape, [4]);
    }
}
