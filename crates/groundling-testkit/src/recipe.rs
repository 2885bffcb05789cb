//! Inputs made from the recipes of `cases.json`.

use serde_json::Value;

use crate::array::{Array, as_usize, usizes};
use crate::fill;

/// Makes an input. `stored` looks up a tensor of the case's file.
///
/// # Panics
/// If the recipe has a form this reader does not know, or two forms that disagree.
pub fn make(recipe: &Value, seed: u64, stored: &dyn Fn(&str) -> Array) -> Array {
    let fields = recipe.as_object().into_iter().flatten().map(|(field, _)| field.as_str());
    let unknown: Vec<&str> = fields.filter(|field| !FIELDS.contains(field)).collect();
    assert!(unknown.is_empty(), "unknown fields {unknown:?} in {recipe}");
    let mut array = base(recipe, seed, stored);
    if let Some(changes) = recipe.get("set").and_then(Value::as_array) {
        for change in changes {
            set(&mut array, &change[0], &Array::from_json(&change[1]).data);
        }
    }
    array
}

/// Every field a recipe may have; what we do not know we would not do.
const FIELDS: [&str; 28] = [
    "fill",
    "shape",
    "lo",
    "hi",
    "seed",
    "floor",
    "gt",
    "ge",
    "mul",
    "rect",
    "rects",
    "ints",
    "floats",
    "mask_lens",
    "len",
    "token_fill",
    "lens",
    "rect_mask",
    "resize_mask",
    "const",
    "blocks",
    "noise",
    "stack",
    "concat",
    "axis",
    "tensor",
    "set",
    "text",
];

fn base(recipe: &Value, seed: u64, stored: &dyn Fn(&str) -> Array) -> Array {
    let seed = recipe.get("seed").and_then(Value::as_u64).unwrap_or(seed);
    let shape = || usizes(&recipe["shape"]);
    let has = |key: &str| recipe.get(key).is_some();
    if has("fill") {
        return filled(recipe, &shape(), seed);
    }
    if has("ints") || has("floats") {
        return Array::from_json(recipe.get("ints").or(recipe.get("floats")).expect("one of them"));
    }
    if has("mask_lens") {
        let (lens, len) = (usizes(&recipe["mask_lens"]), as_usize(&recipe["len"]));
        let data = lens.iter().flat_map(|&n| (0..len).map(move |i| f64::from(u8::from(i < n)))).collect();
        return Array::new([lens.len(), len], data);
    }
    if has("token_fill") {
        return tokens(recipe["token_fill"].as_str(), &usizes(&recipe["lens"]), as_usize(&recipe["len"]), seed);
    }
    if let Some(Value::Array(rects)) = recipe.get("rect_mask") {
        return rect_mask(recipe, rects, &shape());
    }
    if let Some(value) = recipe.get("const").and_then(Value::as_f64) {
        let shape = shape();
        let count = shape.iter().product();
        return Array::new(shape, vec![value; count]);
    }
    if has("blocks") {
        return blocks(recipe, &shape(), seed);
    }
    if let Some(Value::Array(parts)) = recipe.get("stack") {
        let parts: Vec<Array> = parts.iter().map(|part| make(part, seed, stored)).collect();
        let mut shape = vec![parts.len()];
        shape.extend(&parts[0].shape);
        return Array::new(shape, parts.into_iter().flat_map(|part| part.data).collect());
    }
    if let Some(Value::Array(parts)) = recipe.get("concat") {
        let parts: Vec<Array> = parts.iter().map(|part| make(part, seed, stored)).collect();
        return concat(&parts, as_usize(&recipe["axis"]));
    }
    match recipe.get("tensor").and_then(Value::as_str) {
        Some(key) => stored(key),
        None => panic!("unknown recipe {recipe}"),
    }
}

fn filled(recipe: &Value, shape: &[usize], seed: u64) -> Array {
    let number = |key: &str| recipe.get(key).and_then(Value::as_f64);
    let name = recipe["fill"].as_str().expect("fill names a tensor");
    let (lo, hi) = (number("lo").unwrap_or(0.0), number("hi").unwrap_or(1.0));
    let mut array = fill::uniform(name, shape, lo, hi, seed);
    let mut map = |f: &dyn Fn(f64) -> f64| array.data.iter_mut().for_each(|v| *v = f(*v));
    if recipe.get("floor") == Some(&Value::Bool(true)) {
        map(&f64::floor);
    }
    if let Some(t) = number("gt") {
        map(&|v| f64::from(u8::from(v as f32 > t as f32)));
    }
    if let Some(t) = number("ge") {
        map(&|v| f64::from(u8::from(v as f32 >= t as f32)));
    }
    if let Some(x) = number("mul") {
        map(&|v| f64::from((v * x) as f32));
    }
    if let Some(rect) = recipe.get("rect") {
        keep_inside(&mut array.data, shape, &usizes(rect));
    }
    if let Some(Value::Array(rects)) = recipe.get("rects") {
        assert_eq!(rects.len(), shape[0], "one rectangle per index of axis 0");
        let block = array.data.len() / shape[0];
        for (part, rect) in array.data.chunks_mut(block).zip(rects) {
            keep_inside(part, &shape[1..], &usizes(rect));
        }
    }
    array
}

fn inside(rect: &[usize], row: usize, column: usize) -> bool {
    let &[top, left, height, width] = rect else { panic!("a rectangle is [top, left, height, width]") };
    (top..top + height).contains(&row) && (left..left + width).contains(&column)
}

/// Sets to 0 what lies outside the rectangle on the last two axes.
pub(crate) fn keep_inside(data: &mut [f64], shape: &[usize], rect: &[usize]) {
    let width = shape[shape.len() - 1];
    let height = shape[shape.len() - 2];
    for (index, value) in data.iter_mut().enumerate() {
        if !inside(rect, index / width % height, index % width) {
            *value = 0.0;
        }
    }
}

/// The rule "tokens": ids in 1000..29000, `[CLS]` 101 first, `[SEP]` 102 last, zeros behind.
fn tokens(name: Option<&str>, lens: &[usize], len: usize, seed: u64) -> Array {
    let u: Vec<f64> = fill::unit(name.unwrap_or("token_ids"), seed).take(lens.len() * len).collect();
    let mut data = vec![0.0; lens.len() * len];
    for (b, &n) in lens.iter().enumerate() {
        for i in 0..n {
            data[b * len + i] = (1000.0 + 28000.0 * u[b * len + i]).floor();
        }
        data[b * len] = 101.0;
        data[b * len + n - 1] = 102.0;
    }
    Array::new([lens.len(), len], data)
}

/// 0 inside the rectangle of each index of axis 0, 1 outside; on request reduced by `floor(i * H / h)`.
fn rect_mask(recipe: &Value, rects: &[Value], shape: &[usize]) -> Array {
    let &[count, height, width] = shape else { panic!("a rectangle mask has three axes") };
    let (h, w) = match recipe.get("resize_mask") {
        Some(size) => (as_usize(&size[0]), as_usize(&size[1])),
        None => (height, width),
    };
    let mut data = Vec::with_capacity(count * h * w);
    for rect in rects {
        let rect = usizes(rect);
        for row in 0..h {
            let source = row * height / h;
            data.extend((0..w).map(|column| f64::from(u8::from(!inside(&rect, source, column * width / w)))));
        }
    }
    Array::new([count, h, w], data)
}

/// An image of 16 x 16 blocks with noise: `0.75 * b + 0.25 * n`.
fn blocks(recipe: &Value, shape: &[usize], seed: u64) -> Array {
    let &[c, h, w] = shape else { panic!("an image of blocks has three axes") };
    let (rows, columns) = (h.div_ceil(16), w.div_ceil(16));
    let name = |key: &str| recipe[key].as_str().expect("a name to fill by");
    let coarse = fill::uniform(name("blocks"), &[c, rows, columns], 0.0, 255.0, seed);
    let mut fine = fill::uniform(name("noise"), shape, 0.0, 255.0, seed);
    for (index, value) in fine.data.iter_mut().enumerate() {
        let (channel, row, column) = (index / (h * w), index / w % h, index % w);
        let block = coarse.data[(channel * rows + row / 16) * columns + column / 16];
        *value = f64::from((0.75 * block + 0.25 * *value) as f32);
    }
    fine
}

fn concat(parts: &[Array], axis: usize) -> Array {
    let mut shape = parts[0].shape.clone();
    shape[axis] = parts.iter().map(|part| part.shape[axis]).sum();
    let outer: usize = shape[..axis].iter().product();
    let mut data = Vec::new();
    for index in 0..outer {
        for part in parts {
            let block = part.data.len() / outer;
            data.extend_from_slice(&part.data[index * block..(index + 1) * block]);
        }
    }
    Array::new(shape, data)
}

/// Overwrites the elements an index list names, which may be whole rows, by one number or by as many as fill the last axes.
fn set(array: &mut Array, index: &Value, values: &[f64]) {
    let index = index.as_array().expect("an index is a list");
    let ranges: Vec<std::ops::Range<usize>> = (0..array.shape.len())
        .map(|axis| match index.get(axis) {
            Some(Value::Array(range)) => as_usize(&range[0])..as_usize(&range[1]),
            Some(number) => as_usize(number)..as_usize(number) + 1,
            None => 0..array.shape[axis],
        })
        .collect();
    let places: usize = ranges.iter().map(ExactSizeIterator::len).product();
    assert!(!values.is_empty() && places.is_multiple_of(values.len()), "{} numbers for {places} places", values.len());
    let mut hits = 0;
    let shape = array.shape.clone();
    for (flat, element) in array.data.iter_mut().enumerate() {
        let mut rest = flat;
        let hit = (0..shape.len()).rev().all(|axis| {
            let position = rest % shape[axis];
            rest /= shape[axis];
            ranges[axis].contains(&position)
        });
        if hit {
            *element = values[hits % values.len()];
            hits += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn made(recipe: Value) -> Array {
        make(&recipe, 0, &|key| panic!("no tensor {key}"))
    }

    #[test]
    fn masks_and_constants() {
        assert_eq!(made(json!({"mask_lens": [2, 0], "len": 3})).data, [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(made(json!({"const": 4, "shape": [2]})).data, [4.0, 4.0]);
        let mask = made(json!({"rect_mask": [[0, 0, 2, 1]], "shape": [1, 2, 2]}));
        assert_eq!(mask.data, [0.0, 1.0, 0.0, 1.0]);
    }

    #[test]
    fn parts_join_and_elements_change() {
        let parts = json!([{"const": 1, "shape": [2, 1]}, {"const": 2, "shape": [2, 2]}]);
        assert_eq!(made(json!({"concat": parts, "axis": 1})).data, [1.0, 2.0, 2.0, 1.0, 2.0, 2.0]);
        let changed = made(json!({"const": 0, "shape": [2, 2], "set": [[[[0, 2], 1], 5]]}));
        assert_eq!(changed.data, [0.0, 5.0, 0.0, 5.0]);
        let row = made(json!({"const": 0, "shape": [2, 3], "set": [[[1], [7, 8, 9]], [[0, [0, 2]], 4]]}));
        assert_eq!(row.data, [4.0, 4.0, 0.0, 7.0, 8.0, 9.0]);
    }

    #[test]
    fn thresholds_are_compared_in_f32() {
        let recipe = json!({"fill": "a", "shape": [64], "lo": 0, "hi": 1, "gt": 0.5});
        let plain = made(json!({"fill": "a", "shape": [64], "lo": 0, "hi": 1}));
        let expected: Vec<f64> = plain.data.iter().map(|&v| f64::from(u8::from(v > 0.5))).collect();
        assert_eq!(made(recipe).data, expected);
    }
}
