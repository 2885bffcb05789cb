//! Attention: the kernels (`f32`) against the composed bodies (`f64`), and those against burn's own operations and gradients.

use burn::tensor::{Bool, DType, Tensor, TensorData, f16};
use groundling_kernels::{AttentionBias, MapKind, attention, attention_map, attention_with_map};
use proptest::prelude::*;

use crate::support::{assert_near, cpu, tensor, tracked, values};

/// What [`Case::run`] computes: the output and the gradients of queries, keys, values, pair and key bias where there are any.
type Results = Vec<(&'static str, Tensor<4>)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Output,
    Weights,
    Logits,
}

/// Sizes, which biases there are, and how the inputs lie in memory.
#[derive(Debug, Clone)]
struct Case {
    b: usize,
    g: usize,
    n: usize,
    l: usize,
    e: usize,
    f: usize,
    pair: Option<(usize, bool)>,
    mask: Option<usize>,
    key: u8,
    strided: bool,
    seed: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let size = prop_oneof![Just(0usize), Just(1), 2..9usize, 9..40usize, 60..150usize];
    let width = prop_oneof![1..9usize, Just(16), Just(32), 33..70usize];
    (
        (1..5usize, 1..4usize, size.clone(), size, width.clone(), width),
        (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), 0..4u8, any::<bool>(), any::<u64>()),
    )
        .prop_map(|((b, g, n, l, e, f), (pair, shared, mask, windows, key, strided, seed))| {
            let entries = if windows && b % 2 == 0 { 2 } else { 1 };
            Case {
                b,
                g,
                n,
                l,
                e,
                f,
                pair: pair.then_some((if seed % 3 == 0 { b } else { entries }, shared)),
                mask: mask.then_some(entries),
                key,
                strided,
                seed,
            }
        })
}

impl Case {
    /// A tensor `[B, G, rows, width]`; if the inputs are views, a `[B, rows, G width]` one cut into heads.
    fn input(&self, salt: u64, rows: usize, width: usize, dtype: DType) -> (Tensor<4>, Tensor<4>) {
        let seed = self.seed ^ salt;
        if self.strided {
            let leaf = tensor(seed, [self.b, rows, self.g, width], 1.5, &tracked()).cast(dtype).detach().require_grad();
            return (leaf.clone(), leaf.swap_dims(1, 2));
        }
        let values = tensor(seed, [self.b, rows, self.g, width], 1.5, &cpu());
        let leaf: Tensor<4> =
            Tensor::<4>::from_data(values.swap_dims(1, 2).into_data(), &tracked()).cast(dtype).detach();
        let leaf = leaf.require_grad();
        (leaf.clone(), leaf)
    }

    /// `-inf` where `hidden` says so, else small numbers.
    fn mask(&self, salt: u64, len: usize, hide: impl Fn(usize, f32) -> bool) -> Vec<f32> {
        let chances = values(self.seed ^ salt ^ 77, len);
        let numbers = values(self.seed ^ salt, len);
        let pick = |(index, (chance, number)): (usize, (f32, f32))| {
            if hide(index, chance) { f32::NEG_INFINITY } else { number }
        };
        chances.into_iter().zip(numbers).enumerate().map(pick).collect()
    }

    fn run(&self, what: What, dtype: DType, reference: bool) -> Results {
        let Case { b, g, n, l, .. } = *self;
        let (q_leaf, q) = self.input(1, n, self.e, dtype);
        let (k_leaf, k) = self.input(2, l, self.e, dtype);
        let (v_leaf, v) = self.input(3, l, self.f, dtype);
        let mut bias = AttentionBias::none();
        let pair_leaf = self.pair.map(|(entries, shared)| {
            let heads = if shared { 1 } else { g };
            tensor(self.seed ^ 4, [entries, heads, n, l], 2.0, &tracked()).cast(dtype).detach().require_grad()
        });
        if let Some(pair) = &pair_leaf {
            bias = bias.with_pair(pair.clone());
        }
        if let Some(entries) = self.mask {
            let mask = self.mask(5, entries * n * l, |_, chance| chance > 0.3);
            bias =
                bias.with_mask(Tensor::<3>::from_data(TensorData::new(mask, [entries, n, l]), &tracked()).cast(dtype));
        }
        // No key bias; some keys hidden; all but one; all of the first element of the batch.
        let key_leaf = (self.key > 0).then(|| {
            let key = self.mask(6, b * l, |index, chance| match self.key {
                1 => chance > 0.2,
                2 => index % l != (self.seed % l as u64) as usize,
                _ => index < l,
            });
            Tensor::<2>::from_data(TensorData::new(key, [b, l]), &tracked()).cast(dtype).detach().require_grad()
        });
        if let Some(key) = &key_leaf {
            bias = bias.with_key(key.clone());
        }
        let scale = 0.6 / (self.e as f64).sqrt();
        // burn's `unsqueeze` takes no empty tensors.
        let with_heads =
            |map: Tensor<3>| if n * l > 0 { map.unsqueeze_dim(1) } else { Tensor::zeros([b, 1, n, l], &cpu()) };
        let out: Tensor<4> = match (what, reference) {
            (What::Output, false) => attention(q, k, v, scale, bias),
            (What::Output, true) => weights(logits(q, k, scale, &bias, true)).matmul(v),
            (What::Weights, false) => with_heads(attention_map(q, k, scale, bias, MapKind::Weights)),
            (What::Weights, true) => weights(logits(q, k, scale, &bias, true)).mean_dim(1),
            (What::Logits, false) => with_heads(attention_map(q, k, scale, bias, MapKind::Logits)),
            (What::Logits, true) => logits(q, k, scale, &bias, false).mean_dim(1),
        };
        let mut results = vec![("output", out.clone().inner())];
        if n * l > 0 {
            let probe = tensor(self.seed ^ 9, out.dims(), 1.0, &tracked()).cast(dtype);
            let grads = (out * probe).sum().backward();
            results.push(("q", q_leaf.grad(&grads).unwrap()));
            results.push(("k", k_leaf.grad(&grads).unwrap()));
            results.extend(v_leaf.grad(&grads).map(|grad| ("v", grad)));
            results.extend(pair_leaf.and_then(|leaf| leaf.grad(&grads)).map(|grad| ("pair", grad)));
            results.extend(key_leaf.and_then(|leaf| leaf.grad(&grads)).map(|grad| ("key", grad.unsqueeze::<4>())));
        }
        results
    }
}

/// Every term added with ordinary operations.
fn logits(q: Tensor<4>, k: Tensor<4>, scale: f64, bias: &AttentionBias, all: bool) -> Tensor<4> {
    let mut logits = q.matmul(k.swap_dims(2, 3)) * scale;
    let [b, ..] = logits.dims();
    if let Some(pair) = bias.pair.clone() {
        let times = b / pair.dims()[0];
        logits = logits + pair.repeat_dim(0, times);
    }
    if let (Some(mask), true) = (bias.mask.clone(), all) {
        let times = b / mask.dims()[0];
        logits = logits + mask.repeat_dim(0, times).unsqueeze_dim(1);
    }
    if let (Some(key), true) = (bias.key.clone(), all) {
        let [b, l] = key.dims();
        logits = logits + key.reshape([b, 1, 1, l]);
    }
    logits
}

/// Softmax whose hidden rows are zero, gradients too.
fn weights(logits: Tensor<4>) -> Tensor<4> {
    let hidden = logits.clone().detach().equal_elem(f32::NEG_INFINITY);
    let finite = logits.mask_fill(hidden.clone(), -1e5);
    let exponentials = (finite.clone() - finite.detach().max_dim(3)).exp().mask_fill(hidden, 0.0);
    let sum = exponentials.clone().sum_dim(3);
    let nothing = sum.clone().detach().equal_elem(0.0);
    exponentials / sum.mask_fill(nothing, 1.0)
}

/// Both have the same names; differences are relative to the largest element of each tensor.
fn compare(case: &Case, what: What, got: Results, want: Results, limit: f32) {
    let names = |results: &Results| results.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    assert_eq!(names(&got), names(&want), "{case:?}");
    for ((name, got), (_, want)) in got.into_iter().zip(want) {
        let got = got.cast(DType::F64);
        // Where only one key is visible gradients are differences of equal numbers: they are judged as if the largest were 4, as what is subtracted is.
        let largest = if want.dims().contains(&0) { 0.0 } else { want.clone().abs().max().into_scalar::<f64>() as f32 };
        let limit = limit * (4.0 / largest.max(1e-3)).max(1.0);
        assert_near(&format!("{what:?} {name} of {case:?}"), got, want.cast(DType::F64), limit);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    // f32 sums of up to 150 products of numbers up to 1.5: 1e-5 of the largest leaves a factor of 10.
    #[test]
    fn kernels_equal_the_composed_bodies(case in case()) {
        for what in [What::Output, What::Weights] {
            compare(&case, what, case.run(what, DType::F32, false), case.run(what, DType::F64, false), 1e-5);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn composed_bodies_equal_ordinary_operations(case in case().prop_filter("burn has no maximum of nothing", |case| case.n * case.l > 0)) {
        for what in [What::Output, What::Weights, What::Logits] {
            compare(&case, what, case.run(what, DType::F64, false), case.run(what, DType::F64, true), 1e-6);
        }
    }
}
