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
        // Where only one key is visible gradients are sums of differences of equal numbers: an error is judged by what is summed, too.
        let summed = 1.0 + 0.05 * ((case.b * case.g * case.n * case.f) as f32).sqrt();
        let largest = if want.dims().contains(&0) { 0.0 } else { want.clone().abs().max().into_scalar::<f64>() as f32 };
        let limit = limit * (summed / largest.max(1e-3)).max(1.0);
        assert_near(&format!("{what:?} {name} of {case:?}"), got, want.cast(DType::F64), limit);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, rng_seed: proptest::test_runner::RngSeed::Fixed(9), ..ProptestConfig::default() })]

    // f32 sums of up to 150 products of numbers up to 1.5: 1e-5 of the largest leaves a factor of 10.
    #[test]
    fn kernels_equal_the_composed_bodies(case in case()) {
        for what in [What::Output, What::Weights] {
            compare(&case, what, case.run(what, DType::F32, false), case.run(what, DType::F64, false), 1e-5);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, rng_seed: proptest::test_runner::RngSeed::Fixed(10), ..ProptestConfig::default() })]

    #[test]
    fn composed_bodies_equal_ordinary_operations(case in case().prop_filter("burn has no maximum of nothing", |case| case.n * case.l > 0)) {
        for what in [What::Output, What::Weights, What::Logits] {
            compare(&case, what, case.run(what, DType::F64, false), case.run(what, DType::F64, true), 1e-6);
        }
    }
}

/// Sizes at which queries are cut into tiles and parts, keys into more than one block of a product, and users of a pair bias into parts.
#[test]
fn large_sizes_are_cut_into_pieces() {
    let plain =
        Case { b: 1, g: 1, n: 300, l: 420, e: 32, f: 48, pair: None, mask: None, key: 1, strided: true, seed: 1 };
    let cases = [
        Case { b: 2, g: 3, n: 70, l: 1100, e: 20, f: 17, mask: Some(2), ..plain.clone() },
        Case { b: 8, g: 2, n: 81, l: 81, pair: Some((1, false)), mask: Some(4), key: 0, ..plain.clone() },
        Case { b: 12, g: 2, n: 33, l: 40, pair: Some((3, true)), ..plain.clone() },
        Case { b: 2, g: 2, n: 1, l: 400, f: 32, key: 3, ..plain.clone() },
        plain,
    ];
    for case in cases {
        for what in [What::Output, What::Weights] {
            compare(&case, what, case.run(what, DType::F32, false), case.run(what, DType::F64, false), 2e-5);
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let plain =
        Case { b: 2, g: 2, n: 260, l: 300, e: 32, f: 32, pair: None, mask: None, key: 1, strided: true, seed: 2 };
    for case in [Case { pair: Some((1, true)), ..plain.clone() }, plain] {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| [What::Output, What::Weights].map(|what| case.run(what, DType::F32, false)))
        };
        let one = run(1);
        for (one, many) in one.iter().flatten().zip(run(3).iter().flatten()) {
            assert_eq!(one.1.to_data(), many.1.to_data(), "{}", one.0);
        }
    }
}

#[test]
fn a_query_that_sees_nothing_gives_zeros_and_passes_nothing() {
    let device = tracked();
    let all = Tensor::<2, Bool>::from_data(TensorData::new(vec![true; 2 * 9], [2, 9]), &device);
    for dtype in [DType::F32, DType::F64, DType::F16] {
        let [q, k, v] =
            [1, 2, 3].map(|seed| tensor::<4>(seed, [2, 3, 9, 5], 1.0, &device).cast(dtype).detach().require_grad());
        let (out, map) = attention_with_map(
            q.clone(),
            k.clone(),
            v.clone(),
            0.5,
            AttentionBias::padding(all.clone()),
            MapKind::Weights,
        );
        let grads = (out.clone().sum() + map.clone().sum()).backward();
        let tensors = [
            out.inner(),
            map.inner().unsqueeze(),
            q.grad(&grads).unwrap(),
            k.grad(&grads).unwrap(),
            v.grad(&grads).unwrap(),
        ];
        for (index, tensor) in tensors.into_iter().enumerate() {
            let values = tensor.cast(DType::F32).into_data().try_to_vec::<f32>().unwrap();
            assert!(values.iter().all(|value| *value == 0.0), "{dtype:?}: tensor {index} is not all zeros");
        }
    }
}

#[test]
fn views_give_the_same_bits() {
    let [q, k, v] = [1, 2, 3].map(|seed| tensor::<4>(seed, [2, 37, 3, 20], 1.0, &cpu()));
    let attend = |[q, k, v]: [Tensor<4>; 3]| attention(q, k, v, 0.3, AttentionBias::none());
    let views = [&q, &k, &v].map(|tensor| tensor.clone().swap_dims(1, 2));
    let copies = views.clone().map(|view| Tensor::from_data(view.into_data(), &cpu()));
    let of_views = attend(views.clone());
    assert_eq!(of_views.to_data(), attend(copies).to_data());
    // Columns far apart, rows in reverse: both are copied first.
    let turned = views.clone().map(|view| Tensor::from_data(view.swap_dims(2, 3).into_data(), &cpu()).swap_dims(2, 3));
    assert_eq!(of_views.to_data(), attend(turned).to_data());
    let [q, k, v] = views.map(|view| view.flip([2]));
    assert_near("reversed", attend([q, k, v]), of_views.flip([2]), 1e-6);
}

#[test]
fn half_precision_takes_the_composed_body() {
    let [q, k, v] = [1, 2, 3].map(|seed| tensor::<4>(seed, [2, 3, 9, 8], 1.0, &cpu()));
    let bias = AttentionBias::none().with_key(tensor(4, [2, 9], 1.0, &cpu()));
    let want = attention(q.clone(), k.clone(), v.clone(), 0.3, bias.clone());
    let [q, k, v] = [q, k, v].map(|tensor| tensor.cast(DType::F16));
    let got = attention(q, k, v, 0.3, bias);
    assert_eq!(got.dtype(), DType::F16);
    assert_near("f16", got.cast(DType::F32), want, f16::EPSILON.to_f32() * 4.0);
}

#[test]
fn terms_of_a_bias_add_up() {
    let (b, n, l) = (2, 5, 6);
    let [q, k, v] = [(1, n), (2, l), (3, l)].map(|(seed, rows)| tensor::<4>(seed, [b, 3, rows, 8], 1.0, &cpu()));
    let numbers = tensor::<3>(4, [1, n, l], 1.0, &cpu());
    let key = tensor::<2>(5, [b, l], 1.0, &cpu());
    let padding = key.clone().greater_elem(0.2);
    let hidden = numbers.clone().greater_elem(0.5);
    let apart = AttentionBias::padding(padding.clone())
        .with_key(key.clone())
        .with_mask(numbers.clone())
        .with_hidden(hidden.clone());
    let sum = numbers.unsqueeze_dim::<4>(1) + key.reshape([b, 1, 1, l]);
    let sum = sum.mask_fill(hidden.unsqueeze_dim::<4>(1).repeat_dim(0, b), f32::NEG_INFINITY);
    let sum = sum.mask_fill(padding.reshape([b, 1, 1, l]).repeat_dim(2, n), f32::NEG_INFINITY);
    let together = AttentionBias::none().with_pair(sum);
    let run = |bias| attention(q.clone(), k.clone(), v.clone(), 0.3, bias);
    assert_near("output", run(apart), run(together), 1e-6);
}
