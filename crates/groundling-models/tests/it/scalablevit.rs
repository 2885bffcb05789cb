//! What must hold for ScalableViT whatever its weights (the numbered properties of its specification).

use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor};
use groundling_models::contract::Trainable;
use groundling_models::scalablevit::{
    CLASSIFIER_KEYS, CLASSIFIER_TO_DENSE_KEYS, Criterion, GlobalAttention, GlobalConfig, HeadConfig, HeadKind,
    LocalAttention, Order, OutputNorm, ScalableAttention, ScalableVit, ScalableVitConfig, ValueWidth, WindowConfig,
    WindowedAttention, detect,
};
use groundling_nn::checkpoint::{Checkpoint, StoredTensor, load_into, parameters};
use groundling_nn::swin::TokenMap;
use groundling_testkit::fill;

use crate::support;

/// Weights of usual sizes, by name.
fn filled<M: Module>(module: M) -> M {
    let tensors = parameters(&module).into_iter().map(|info| {
        let values = fill::parameter(&info.name, &info.shape, 5).to_f32();
        (info.name, StoredTensor::from_values(info.shape, values))
    });
    load_into(module, &Checkpoint::from_tensors(tensors), &[]).unwrap().0
}

fn tokens([height, width]: [usize; 2], channels: usize, batch: usize) -> TokenMap {
    let x = fill::uniform("x", &[batch, height * width, channels], -2.0, 2.0, 3);
    TokenMap { tokens: support::tensor::<3>(&x, &Device::flex()), height, width }
}

fn image(height: usize, width: usize, batch: usize) -> Tensor<4> {
    support::tensor(&fill::uniform("image", &[batch, 3, height, width], -2.0, 2.0, 3), &Device::flex())
}

fn apart<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    (a - b).abs().max().into_scalar::<f32>()
}

/// Tokens whose output changes when one input token does.
fn touched(map: &TokenMap, token: usize, run: impl Fn(&TokenMap) -> Tensor<3>) -> Vec<usize> {
    let [_, n, c] = map.tokens.dims();
    let other = map.tokens.clone().slice([0..1, token..token + 1, 0..c]) + 1.5;
    let changed = map.tokens.clone().slice_assign([0..1, token..token + 1, 0..c], other);
    let after = run(&TokenMap { tokens: changed, ..map.clone() });
    let moved = (after - run(map)).abs().max_dim(2).into_data().try_to_vec::<f32>().unwrap();
    (0..n).filter(|&index| moved[index] > 1e-6).collect()
}

fn windowed(kind: LocalAttention, window: usize) -> WindowedAttention {
    filled(WindowConfig { dim: 16, heads: 2, window, qkv_bias: true, kind }.init(&Device::flex()))
}

fn global(reduction: usize, channel_factor: f64, value: ValueWidth, kind: GlobalAttention) -> ScalableAttention {
    filled(
        GlobalConfig { dim: 16, heads: 2, reduction, channel_factor, value, qkv_bias: true, kind }
            .init(&Device::flex()),
    )
}

fn tiny() -> ScalableVitConfig {
    ScalableVitConfig::tiny()
}

fn model(config: ScalableVitConfig) -> ScalableVit {
    filled(config.init(&Device::flex()).unwrap())
}

/// 1. Whole windows need no padding: cut alone, a window without its convolution is the same. A grid of one more row changes all of it, since
///    tokens of padding are seen.
#[test]
fn padding_is_inert_where_it_is_not_needed() {
    let layer = windowed(LocalAttention::Wsa, 3);
    let map = tokens([6, 3], 16, 1);
    let whole = layer.forward(&map);
    let half = TokenMap { tokens: map.tokens.clone().narrow(1, 9, 9), height: 3, width: 3 };
    assert!(apart(whole.clone().narrow(1, 9, 9), layer.forward(&half)) < 1e-6);
    let cut = TokenMap { tokens: map.tokens.narrow(1, 0, 15), height: 5, width: 3 };
    let cut = layer.forward(&cut);
    assert!(apart(cut.clone().narrow(1, 0, 9), whole.clone().narrow(1, 0, 9)) < 1e-6, "the first window is whole");
    assert!(apart(cut.narrow(1, 9, 6), whole.narrow(1, 9, 6)) > 1e-3);
}

/// 2. Without the convolution a token is seen in its window only; with it, by its neighbours in others too.
#[test]
fn windows_are_apart_but_for_the_convolution() {
    let map = tokens([6, 6], 16, 1);
    // Row 2, column 2: the corner of the first window.
    let token = 2 * 6 + 2;
    let own: Vec<usize> = (0..3).flat_map(|row| (0..3).map(move |column| row * 6 + column)).collect();
    let alone = windowed(LocalAttention::Wsa, 3);
    assert_eq!(touched(&map, token, |map| alone.forward(map)), own);
    let inside = windowed(LocalAttention::WsaLem, 3);
    assert_eq!(touched(&map, token, |map| inside.forward(map)), own);
    let mut joined = own.clone();
    joined.extend([9, 15, 19, 20, 21]);
    joined.sort_unstable();
    let interactive = windowed(LocalAttention::Iwsa, 3);
    assert_eq!(touched(&map, token, |map| interactive.forward(map)), joined);
    let convolution = windowed(LocalAttention::LimOnly, 3);
    let nine: Vec<usize> = (1..4).flat_map(|row| (1..4).map(move |column| row * 6 + column)).collect();
    assert_eq!(touched(&map, token, |map| convolution.forward(map)), nine);
}

/// 3. What the convolution adds goes through the projection alone.
#[test]
fn the_convolution_is_added_before_the_projection() {
    let layer = windowed(LocalAttention::Iwsa, 3);
    let mut silent = layer.clone();
    let lim = silent.lim_func.as_mut().unwrap();
    lim.weight = lim.weight.clone().map(|weight| weight.zeros_like());
    lim.bias = lim.bias.clone().map(|bias| bias.map(|bias| bias.zeros_like()));
    let map = tokens([6, 3], 16, 2);
    let difference = layer.forward(&map) - silent.forward(&map);
    let values = layer.qkv.forward(map.tokens).narrow(2, 32, 16);
    let values = TokenMap { tokens: values, height: 6, width: 3 }.into_image();
    let convolved = TokenMap::from_image(layer.lim_func.as_ref().unwrap().forward(values)).tokens;
    let expected = convolved.matmul(layer.proj.weight.val().unsqueeze());
    assert!(apart(difference, expected) < 1e-4);
}

/// 4. Tokens behind the last whole cell are asked by nobody.
#[test]
fn the_rest_of_a_grid_is_a_blind_spot() {
    for (kind, value) in [
        (GlobalAttention::Ssa, ValueWidth::Input),
        (GlobalAttention::Ssa, ValueWidth::Scaled),
        (GlobalAttention::Sra, ValueWidth::Input),
        (GlobalAttention::SsaPool, ValueWidth::Scaled),
    ] {
        let layer = global(2, 1.5, value, kind);
        let map = tokens([5, 7], 16, 1);
        for token in [4 * 7, 4 * 7 + 3, 6, 2 * 7 + 6] {
            assert_eq!(touched(&map, token, |map| layer.forward(map)), [token], "{kind:?} {value:?}");
        }
        assert_eq!(touched(&map, 3 * 7 + 5, |map| layer.forward(map)).len(), 35, "{kind:?} {value:?}");
    }
}

/// 5. Nothing reduced and nothing scaled: ordinary attention, which knows no order.
#[test]
fn without_reduction_it_is_ordinary_attention() {
    let layer = global(1, 1.0, ValueWidth::Input, GlobalAttention::Ssa);
    let map = tokens([3, 4], 16, 1);
    let out = layer.forward(&map);
    let turned = TokenMap { tokens: map.tokens.clone().flip([1]), ..map.clone() };
    assert!(apart(layer.forward(&turned).flip([1]), out.clone()) < 1e-5);
    // By hand, head by head.
    let (q, kv) = (layer.q.forward(map.tokens.clone()), layer.kv.as_ref().unwrap().forward(map.tokens.clone()));
    let head = |x: &Tensor<3>, start: usize| x.clone().narrow(2, start, 8);
    let heads = (0..2).map(|index| {
        let (q, k, v) = (head(&q, 8 * index), head(&kv, 8 * index), head(&kv, 16 + 8 * index));
        burn::tensor::activation::softmax(q.matmul(k.transpose()) / 8f32.sqrt(), 2).matmul(v)
    });
    let context = Tensor::cat(heads.collect(), 2);
    assert!(apart(layer.proj.forward(context), out.clone()) < 1e-5);
    let vanilla = global(8, 1.25, ValueWidth::Input, GlobalAttention::Vanilla);
    assert!(apart(vanilla.forward(&map), out) < 1e-6, "whatever its stage reduces");
}

/// 6. With equal widths both forms of the values are the same layer.
#[test]
fn both_forms_of_values_agree_where_widths_do() {
    let joint = global(2, 1.0, ValueWidth::Scaled, GlobalAttention::Ssa);
    let mut apart_layer = global(2, 1.0, ValueWidth::Input, GlobalAttention::Ssa);
    let kv = joint.kv.as_ref().unwrap();
    let part = |start: usize| {
        let mut layer = apart_layer.k.clone().unwrap();
        layer.weight = layer.weight.map(|_| kv.weight.val().narrow(1, start, 16));
        layer.bias = layer.bias.map(|bias| bias.map(|_| kv.bias.as_ref().unwrap().val().narrow(0, start, 16)));
        layer
    };
    let (k, v) = (part(0), part(16));
    (apart_layer.k, apart_layer.v) = (Some(k), Some(v));
    let map = tokens([5, 4], 16, 2);
    assert!(apart(joint.forward(&map), apart_layer.forward(&map)) < 1e-5);
}

/// 8. A sample knows nothing of its batch.
#[test]
fn samples_are_independent() {
    let model = model(tiny());
    let images = image(75, 101, 3);
    let together = model.classify(images.clone()).unwrap();
    for index in 0..3 {
        let alone = model.classify(images.clone().narrow(0, index, 1)).unwrap();
        assert!(apart(alone, together.clone().narrow(0, index, 1)) < 1e-4);
    }
}

/// 9. With kernels that do not tell rows from columns, a turned picture gives turned maps, padded or not.
#[test]
fn rows_and_columns_are_treated_alike() {
    struct Even;
    impl burn::module::ModuleMapper for Even {
        fn map_float<const D: usize>(
            &mut self,
            param: burn::module::Param<Tensor<D>>,
        ) -> burn::module::Param<Tensor<D>> {
            if D != 4 {
                return param;
            }
            param.map(|kernel| {
                let turned = kernel.clone().swap_dims(D - 2, D - 1);
                (kernel + turned) * 0.5
            })
        }
    }
    let model = model(tiny().dense()).map(&mut Even);
    let picture = image(61, 90, 1);
    let maps = model.forward(picture.clone()).unwrap();
    let turned = model.forward(picture.swap_dims(2, 3)).unwrap();
    for (map, turned) in maps.into_iter().zip(turned) {
        assert_eq!(map.dims()[2], turned.dims()[3]);
        assert!(apart(map, turned.swap_dims(2, 3)) < 2e-4);
    }
}

/// 10. Grids are the sides over 4, 8, 16 and 32, rounded up, from 29 pixels on; below there is an error that says so.
#[test]
fn grids_follow_the_picture() {
    let config = tiny().dense();
    let model = model(config.clone());
    for side in (29..=200).step_by(9) {
        let other = 229 - side;
        let maps = model.forward(image(side, other, 1)).unwrap();
        for (stage, map) in maps.iter().enumerate() {
            let stride = 4 << stage;
            assert_eq!(map.dims(), [1, config.dims[stage], side.div_ceil(stride), other.div_ceil(stride)]);
        }
    }
    for (height, width) in [(28, 200), (31, 1), (1, 1), (0, 40)] {
        let error = config.fits(height, width).unwrap_err();
        assert_eq!((error.least, error.stage, error.reduction), (29, 1, 8));
        assert!(error.to_string().contains("at least 29"), "{error}");
    }
    assert!(model.forward(image(28, 64, 1)).is_err());
    // Without reduced keys any picture will do.
    let windows = ScalableVitConfig { order: Order::IwsaOnly, ..config.clone() };
    windows.fits(1, 1).unwrap();
    assert_eq!(self::model(windows).forward(image(1, 2, 1)).unwrap()[3].dims(), [1, 64, 1, 1]);
    let vanilla = ScalableVitConfig { global: GlobalAttention::Vanilla, ..config };
    assert_eq!(self::model(vanilla).forward(image(5, 3, 1)).unwrap()[0].dims(), [1, 16, 2, 1]);
}

/// Pictures of odd sizes: very thin ones, and an empty batch.
#[test]
fn pictures_of_any_size() {
    let model = model(tiny());
    for (height, width) in [(31, 97), (4000, 40), (29, 29), (64, 500)] {
        let logits = model.classify(image(height, width, 1)).unwrap().into_data().try_to_vec::<f32>().unwrap();
        assert!(logits.len() == 10 && logits.iter().all(|value| value.is_finite()), "{height}x{width}");
    }
}

/// 11. Counts are those of the formulas, for any configuration.
#[test]
fn counts_follow_the_formulas() {
    let _alone = support::alone();
    let variants = [
        tiny(),
        ScalableVitConfig { value: ValueWidth::Scaled, ..tiny().dense() },
        ScalableVitConfig { depths: [3, 1, 2, 4], peg: false, ..tiny() },
        ScalableVitConfig { local: LocalAttention::Wsa, ..tiny() },
        ScalableVitConfig { head: Some(HeadConfig { kind: HeadKind::Plain, classes: 3 }), window: 5, ..tiny() },
    ];
    for config in variants {
        let model = config.init(&Device::flex()).unwrap();
        let (height, width) = (83, 130);
        let (mut parameters, mut linear, mut products) = (0, 0, 0);
        let mut inputs = config.in_channels;
        for (stage, [rows, columns]) in config.grids(height, width).into_iter().enumerate() {
            let (c, r, m) = (config.dims[stage], config.reductions[stage], config.window);
            let (n, hidden) = (rows * columns, (config.mlp_ratios[stage] * c as f64) as usize);
            let k = 2 * config.strides[stage] - 1;
            parameters += k * k * inputs * c + 3 * c + if config.peg { 10 * c } else { 0 };
            parameters += if config.output_norm == OutputNorm::None { 0 } else { 2 * c };
            linear += n * c * inputs * k * k + if config.peg { 9 * n * c } else { 0 };
            for index in 0..config.depths[stage] {
                parameters += 4 * c + 2 * hidden * c + hidden + c;
                linear += 2 * n * hidden * c;
                let padded = rows.next_multiple_of(m) * columns.next_multiple_of(m);
                let scaled = (c as f64 * config.channel_factors[stage]) as usize;
                let keys = (rows / r) * (columns / r);
                if index % 2 == 0 {
                    let lim = config.local == LocalAttention::Iwsa;
                    parameters += 4 * c * c + 4 * c + if lim { 10 * c } else { 0 };
                    linear += 3 * padded * c * c + n * c * c + if lim { 9 * padded * c } else { 0 };
                    products += 2 * padded * m * m * c;
                } else if r == 1 {
                    parameters += 4 * c * c + 4 * c;
                    linear += 4 * n * c * c;
                    products += 2 * n * n * c;
                } else if config.value == ValueWidth::Input {
                    parameters += c * c + 3 * c * scaled + scaled * scaled + r * r * c + 3 * c + 5 * scaled;
                    linear += keys * c * r * r + keys * c * scaled;
                    linear += n * c * scaled + keys * scaled * scaled + keys * scaled * c + n * c * c;
                    products += n * keys * (scaled + c);
                } else {
                    parameters += 3 * c * scaled + 2 * scaled * scaled + r * r * c + 2 * c + 6 * scaled;
                    linear += keys * c * r * r + keys * c * scaled;
                    linear += 2 * n * c * scaled + 2 * keys * scaled * scaled;
                    products += 2 * n * keys * scaled;
                }
            }
            inputs = c;
        }
        match config.head {
            Some(HeadConfig { kind: HeadKind::Mlp, classes }) => {
                parameters += 2 * inputs + 4096 * inputs + 4096 + 8192 + 4096 * classes + classes;
                linear += 4096 * inputs + 4096 * classes;
            }
            Some(HeadConfig { kind: HeadKind::Plain, classes }) => {
                parameters += 2 * inputs + classes * inputs + classes;
                linear += classes * inputs;
            }
            None => {}
        }
        let macs = model.macs(height, width).unwrap();
        assert_eq!(model.parameter_count().total(), parameters as u64);
        assert_eq!((macs.conv_linear(), macs.attention_matmul()), (linear as u64, products as u64));
    }
}

/// Sizes alone say what a walk of the module says, whatever is switched.
#[test]
fn sizes_alone_give_the_same_count() {
    let locals = [
        LocalAttention::Iwsa,
        LocalAttention::Wsa,
        LocalAttention::WsaLem,
        LocalAttention::LimOnly,
        LocalAttention::None,
    ];
    let globals = [GlobalAttention::Ssa, GlobalAttention::Vanilla, GlobalAttention::Sra, GlobalAttention::SsaPool];
    let orders = [Order::IwsaFirst, Order::SsaFirst, Order::IwsaOnly, Order::SsaOnly];
    let mut seen = std::collections::BTreeSet::new();
    for (index, &local) in locals.iter().enumerate() {
        for (other, &global) in globals.iter().enumerate() {
            for value in [ValueWidth::Input, ValueWidth::Scaled] {
                let order = orders[(index + other) % 4];
                let peg = index % 2 == 0;
                let config = ScalableVitConfig { local, global, order, value, peg, window: 5, ..tiny() };
                let model = config.init(&Device::flex()).unwrap();
                for [height, width] in [[83, 130], [64, 64]] {
                    let walked = model.macs(height, width).unwrap().total();
                    assert_eq!(config.macs([height, width]), walked, "{config:?} {height}x{width}");
                    seen.insert(walked);
                }
            }
        }
    }
    assert!(seen.len() > 20, "switches change the count: {}", seen.len());
    // What no picture can have stays the largest number.
    assert_eq!(ScalableVitConfig::large().macs([1 << 31, 1 << 31]), u64::MAX);
    let plain = ScalableVitConfig { head: Some(HeadConfig { kind: HeadKind::Plain, classes: 3 }), ..tiny() };
    assert_eq!(plain.macs([64, 64]), plain.init(&Device::flex()).unwrap().macs(64, 64).unwrap().total());
}

/// 13. Stochastic depth: whole samples, the right mean, nothing without gradients, and one draw for each branch.
#[test]
fn paths_are_dropped_in_training_only() {
    let _alone = support::alone();
    let config = ScalableVitConfig { drop_path: 0.5, ..tiny() };
    let plain = model(config.clone());
    let picture = image(64, 64, 1);
    assert!(apart(plain.classify(picture.clone()).unwrap(), model(tiny()).classify(picture).unwrap()) < 1e-6);

    let device = Device::flex().autodiff();
    let block = WindowConfig { dim: 16, heads: 2, window: 3, qkv_bias: true, kind: LocalAttention::Iwsa };
    let block = groundling_models::scalablevit::BlockConfig::Windowed(block).init(32, 0.4, &device);
    let block = filled(block);
    device.seed(11);
    let one = tokens([3, 3], 16, 1);
    let batch = TokenMap {
        tokens: support::tensor::<3>(&fill::uniform("x", &[1, 9, 16], -2.0, 2.0, 3), &device).repeat_dim(0, 600),
        height: 3,
        width: 3,
    };
    let out = block.forward(batch.clone()).tokens;
    // Four outcomes: neither branch, one, the other, both.
    let first = out.narrow(1, 0, 1).narrow(2, 0, 1).into_data().try_to_vec::<f32>().unwrap();
    let mut kinds: Vec<(f32, usize)> = Vec::new();
    for value in first {
        match kinds.iter_mut().find(|(known, _)| (known - value).abs() < 1e-4) {
            Some((_, count)) => *count += 1,
            None => kinds.push((value, 1)),
        }
    }
    assert_eq!(kinds.len(), 4, "{kinds:?}");
    let untouched = one.tokens.into_data().try_to_vec::<f32>().unwrap()[0];
    let neither = kinds.iter().find(|(value, _)| (value - untouched).abs() < 1e-4).unwrap().1 as f64 / 600.0;
    assert!((neither - 0.16).abs() < 0.06, "both branches are dropped in {neither} of the samples");
}

/// 14. A classifier's weights make a backbone whose last map, without norms, is what the classifier pools.
#[test]
fn a_classifier_becomes_a_backbone() {
    let classifier = model(tiny());
    let tensors: Vec<(String, StoredTensor)> = published(&classifier);
    let checkpoint = Checkpoint::from_tensors(tensors.clone());
    let plain = ScalableVitConfig { head: None, ..tiny() };
    let (backbone, report) =
        load_into(plain.init(&Device::flex()).unwrap(), &checkpoint, CLASSIFIER_TO_DENSE_KEYS).unwrap();
    assert_eq!(report.ignored.len(), 8, "norm and three layers of the head");
    let picture = image(224, 224, 1);
    let [_, _, _, last] = backbone.forward(picture.clone()).unwrap();
    let pooled = classifier.norm.as_ref().unwrap().forward(TokenMap::from_image(last).tokens).mean_dim(1);
    assert!(apart(pooled.squeeze_dim::<2>(1), classifier.pooled(picture).unwrap()) < 1e-5);
    // With norms they start at rest, and the report says so.
    let (_, report) =
        load_into(tiny().dense().init(&Device::flex()).unwrap(), &checkpoint, CLASSIFIER_TO_DENSE_KEYS).unwrap();
    assert_eq!(report.kept.len(), 8, "{report}");
    // 12. The names of the file are those of the classifier, and lead back to the same module.
    let (again, _) = load_into(tiny().init(&Device::flex()).unwrap(), &checkpoint, CLASSIFIER_KEYS).unwrap();
    for (a, b) in published(&again).into_iter().zip(tensors) {
        assert_eq!((a.0, a.1.read_f32().unwrap()), (b.0, b.1.read_f32().unwrap()));
    }
}

/// The module's tensors under the names of the released classifiers.
pub(crate) fn published(model: &ScalableVit) -> Vec<(String, StoredTensor)> {
    let place = groundling_testkit::scratch("scalablevit-published").join("model.safetensors");
    groundling_nn::checkpoint::save(model, &place, groundling_nn::checkpoint::Precision::F32, &Default::default())
        .unwrap();
    let saved = Checkpoint::open(&place, &Default::default()).unwrap();
    let theirs = |name: &str| {
        let name = name.replace(".blocks.", ".").replace(".peg.conv.", ".peg.proj.0.");
        let name = name.replace(".attn.reduced.depthwise.", ".attn.reduction.0.");
        let name = name.replace(".attn.reduced.pointwise.", ".attn.reduction.1.");
        let name = name.replace(".attn.reduced.norm.", ".attn.norm_act.0.");
        let name =
            name.replace("head.hidden.", "head.0.").replace("head.norm.", "head.1.").replace("head.out.", "head.3.");
        let stage = name.strip_prefix("stages.").and_then(|rest| rest.split_once('.'));
        match stage {
            Some((stage, rest)) if rest.starts_with("patch_embed.") => {
                format!("patch_embeds.{stage}.{}", &rest["patch_embed.".len()..])
            }
            Some((stage, rest)) if rest.starts_with("peg.") => format!("pos_block.{stage}.{}", &rest["peg.".len()..]),
            _ => name,
        }
    };
    saved.tensors().iter().map(|(name, tensor)| (theirs(name), tensor.clone())).collect()
}

/// What a checkpoint's shapes say, and what is said of files that are none.
#[test]
fn configurations_are_read_from_shapes() {
    let shapes = |model: &ScalableVit| -> std::collections::BTreeMap<String, Vec<usize>> {
        published(model).into_iter().map(|(name, tensor)| (name, tensor.shape().to_vec())).collect()
    };
    let mut config = ScalableVitConfig { heads: [2, 4, 6, 8], qkv_bias: false, ..tiny() };
    let found = detect(&shapes(&model(config.clone())), 8).unwrap().1;
    assert_eq!(found, config);
    (config.order, config.peg) = (Order::SsaFirst, false);
    assert_eq!(detect(&shapes(&model(config.clone())), 8).unwrap().1, config);
    let mut some = shapes(&model(config.clone()));
    some.remove("patch_embeds.2.proj.weight");
    let error = detect(&some, 8).unwrap_err().to_string();
    assert!(error.contains("patch_embeds.2.proj.weight is missing"), "{error}");
    some.insert("patch_embeds.2.proj.weight".into(), vec![3]);
    assert!(detect(&some, 8).unwrap_err().to_string().contains("shape [3]"));
    let error = detect(&Default::default(), 32).unwrap_err().to_string();
    assert!(error.contains("no tensor of a ScalableViT"), "{error}");
}

#[test]
fn configurations_that_cannot_be_are_refused() {
    let bad: [(ScalableVitConfig, &str); 7] = [
        (ScalableVitConfig { heads: [3, 2, 4, 4], ..tiny() }, "heads"),
        (ScalableVitConfig { channel_factors: [1.1, 0.5, 2.0, 1.0], ..tiny() }, "channel_factors"),
        (ScalableVitConfig { window: 1, ..tiny() }, "window"),
        (ScalableVitConfig { side: 28, ..tiny() }, "side"),
        (ScalableVitConfig { depths: [2, 0, 2, 1], ..tiny() }, "depths"),
        (ScalableVitConfig { drop_path: 1.0, ..tiny() }, "drop_path"),
        (tiny().with_classes(0), "head.classes"),
    ];
    for (config, field) in bad {
        assert_eq!(config.init(&Device::flex()).unwrap_err().field, field);
    }
}

/// Every ablation runs, trains all its weights, and drops the parameters it has no use for.
#[test]
fn ablations_train() {
    let _alone = support::alone();
    let device = Device::flex().autodiff();
    let full = tiny().init(&device).unwrap().num_params();
    for (config, fewer) in [
        (ScalableVitConfig { local: LocalAttention::Wsa, ..tiny() }, true),
        (ScalableVitConfig { local: LocalAttention::WsaLem, ..tiny() }, false),
        (ScalableVitConfig { local: LocalAttention::None, ..tiny() }, true),
        (ScalableVitConfig { peg: false, ..tiny() }, true),
        (ScalableVitConfig { output_norm: OutputNorm::Side, ..tiny() }, false),
    ] {
        let model = config.init(&device).unwrap();
        assert_eq!(model.num_params() < full, fewer, "{config:?}");
        let x = Tensor::<4>::random([1, 3, 64, 64], Distribution::Default, &device);
        let [a, b, c, d] = model.forward(x.clone()).unwrap();
        let all = (model.classify(x).unwrap().powi_scalar(2).sum(), [a, b, c, d].map(|map| map.powi_scalar(3).sum()));
        let loss = all.1.into_iter().fold(all.0, |sum, map| sum + map);
        let gradients = groundling_nn::checkpoint::gradients(&model, &loss.backward());
        let still: Vec<String> = gradients
            .into_iter()
            .filter(|(_, values)| values.iter().all(|value| *value == 0.0))
            .map(|(info, _)| info.name)
            .collect();
        assert!(still.is_empty(), "{config:?}: {still:?}");
    }
}

/// A map that is normalised on the side only leaves the trunk as it is.
#[test]
fn norms_on_the_side_do_not_enter_the_next_stage() {
    let side = model(ScalableVitConfig { output_norm: OutputNorm::Side, ..tiny().dense() });
    let trunk = model(tiny().dense());
    let (a, b) = (side.forward(image(64, 64, 1)).unwrap(), trunk.forward(image(64, 64, 1)).unwrap());
    let [a0, a1, ..] = a;
    let [b0, b1, ..] = b;
    assert!(apart(a0, b0) == 0.0 && apart(a1, b1) > 0.1);
}

/// The loss of the published recipe: soft targets, smoothed.
#[test]
fn the_loss_is_that_of_soft_targets() {
    let device = Device::flex();
    let logits = [[1.0f64, -0.5, 2.0, 0.3], [0.2, 0.1, -1.0, 0.0]];
    let wanted = [[0.0f64, 0.3, 0.7, 0.0], [1.0, 0.0, 0.0, 0.0]];
    let tensor = |rows: [[f64; 4]; 2]| Tensor::<2>::from_data(rows.map(|row| row.map(|value| value as f32)), &device);
    let by_hand = |smoothing: f64| {
        let of_row = |(z, t): (&[f64; 4], &[f64; 4])| {
            let sum: f64 = z.iter().map(|z| z.exp()).sum();
            let term = |(z, t): (&f64, &f64)| -(t * (1.0 - smoothing) + smoothing / 4.0) * (z - sum.ln());
            z.iter().zip(t).map(term).sum::<f64>()
        };
        logits.iter().zip(&wanted).map(of_row).sum::<f64>() / 2.0
    };
    for smoothing in [0.0, 0.1] {
        let found: f32 = Criterion { smoothing }.loss(tensor(logits), tensor(wanted)).into_scalar();
        assert!((f64::from(found) - by_hand(smoothing)).abs() < 1e-6, "{smoothing}: {found} {}", by_hand(smoothing));
    }
    assert_eq!(Criterion { smoothing: 1.0 }.check().unwrap_err().field, "criterion.smoothing");
}

/// Rank 1, biases and the position's convolutions do not decay; all else does.
#[test]
fn what_decays_is_what_the_recipe_says() {
    let mut still = std::collections::BTreeSet::new();
    for info in parameters(&model(tiny())) {
        let decays = ScalableVit::decays(&info.name, info.shape.len());
        assert_eq!(!decays, info.shape.len() == 1 || info.name.contains("peg.conv.weight"), "{}", info.name);
        if !decays && info.shape.len() > 1 {
            still.insert(info.name);
        }
    }
    let expected: Vec<String> = (0..4).map(|stage| format!("stages.{stage}.peg.conv.weight")).collect();
    assert_eq!(still.into_iter().collect::<Vec<_>>(), expected);
}

/// A checkpoint of other classes gives all but the head.
#[test]
fn other_classes_keep_the_trunk() {
    let layouts = ScalableVit::layouts(&tiny());
    let rules = &layouts.iter().find(|layout| layout.name == "other_classes").unwrap().rules;
    // Our names are theirs but for a few: enough for the rules to be tried on those of the head and of a norm.
    let theirs = [("norm.weight", vec![64]), ("norm.bias", vec![64]), ("head.3.weight", vec![1000, 4096])];
    let tensors = theirs.map(|(name, shape)| {
        let values = vec![0.5; shape.iter().product()];
        (name.to_owned(), StoredTensor::from_values(shape, values))
    });
    let checkpoint = Checkpoint::from_tensors(tensors);
    let plan = groundling_nn::checkpoint::plan(&model(tiny()), &checkpoint, rules).unwrap();
    let report = plan.report();
    assert!(report.ignored.iter().any(|(name, _)| name == "head.3.weight"), "{report}");
    assert!(report.kept.iter().any(|(name, _)| name.starts_with("head.")), "{report}");
    assert!(!report.missing.iter().any(|(name, _)| name.starts_with("head.")), "{report}");
    assert!(report.missing.iter().any(|(name, _)| name.starts_with("stages.")), "the trunk is still wanted");
}
