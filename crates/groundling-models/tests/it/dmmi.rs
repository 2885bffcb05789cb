//! What must hold for DMMI whatever its weights.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Device, Distribution, Int, Tensor};
use groundling_core::{BinaryMask, BoxCxcywh, ContentRect, ImageSize};
use groundling_kernels::Activation;
use groundling_models::contract::{Batch, GroundOptions, SampleTruth, System, Trainable, TruthObject};
use groundling_models::dmmi::{
    Criterion, Decoder, Dmmi, DmmiConfig, Language, Mba, MbaConfig, Observer, Recovery, Seen,
};
use groundling_nn::checkpoint::{gradients, initialise};
use groundling_nn::transformer::{NormOrder, TransformerConfig};
use groundling_testkit::Array;

use crate::support::{self, array};

const D: usize = 12;
const C: usize = 8;

/// Holds the generator while it draws.
fn random<const N: usize>(shape: [usize; N], seed: u64) -> Tensor<N> {
    let _alone = support::alone();
    let device = Device::flex();
    device.seed(seed);
    Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), &device)
}

fn block() -> Mba {
    let _alone = support::alone();
    let device = Device::flex();
    device.seed(3);
    let config = MbaConfig { channels: C, width: D, regions: vec![1, 3, 5], spans: vec![1, 2, 3], gated: true };
    let block = config.init(&device);
    initialise(&block);
    block
}

/// Everything that a block makes, by name.
fn run(block: &Mba, x: &Tensor<4>, tokens: &Tensor<3>, lens: &[usize]) -> BTreeMap<String, Array> {
    let [_, l, _] = tokens.dims();
    let row = |&real: &usize| (0..l).map(move |index| if index < real { 1.0 } else { 0.0 });
    let valid: Vec<f32> = lens.iter().flat_map(row).collect();
    let valid = Tensor::<1>::from_floats(valid.as_slice(), &Device::flex()).reshape([lens.len(), l]);
    let mut made = BTreeMap::new();
    let mut watch = |seen: Seen<'_>| {
        made.insert(seen.place.to_owned(), Array::new(seen.shape, array(seen.values).data));
    };
    let observer = &mut Observer::new(&mut watch);
    let fused = block.forward(x.clone(), &Language { tokens: tokens.clone(), valid }, observer);
    let next = block.gated(x.clone(), fused.residual, observer);
    made.insert("next".into(), array(next));
    made
}

fn apart(a: &Array, b: &Array) -> f64 {
    assert_eq!(a.shape, b.shape);
    a.data.iter().zip(&b.data).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn attention_sums_to_one_and_padding_is_not_asked() {
    let block = block();
    let (x, tokens) = (random([2, C, 4, 3], 1), random([2, 6, D], 2));
    let made = run(&block, &x, &tokens, &[6, 4]);
    for index in 0..3 {
        let map = &made[&format!("region{index}")]; // [B, L, N]
        for (sample, real) in [(0, 6), (1, 4)] {
            for pixel in 0..12 {
                let column: Vec<f64> = (0..6).map(|token| map.data[(sample * 6 + token) * 12 + pixel]).collect();
                assert!((column.iter().sum::<f64>() - 1.0).abs() < 1e-5);
                assert!(column[real..].iter().all(|&share| share == 0.0));
            }
        }
        let map = &made[&format!("span{index}")];
        for (row, shares) in map.data.chunks(12).enumerate() {
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-5);
            let uniform = shares.iter().all(|&share| (share - 1.0 / 12.0).abs() < 1e-6);
            assert_eq!(uniform, row >= 10, "padding of the second phrase alone asks for nothing: row {row}");
        }
    }
}

#[test]
fn one_token_says_the_same_to_every_pixel() {
    let (x, tokens) = (random([1, C, 4, 3], 1), random([1, 6, D], 2));
    let made = run(&block(), &x, &tokens, &[1]);
    assert!(made["attended"].data.iter().all(|value| value.abs() < 1e-4), "what is constant is normalised to 0");
    for index in 0..3 {
        let map = &made[&format!("region{index}")];
        assert!(map.data[..12].iter().all(|&share| share == 1.0) && map.data[12..].iter().all(|&share| share == 0.0));
    }
}

#[test]
fn embeddings_under_padding_reach_the_last_word_alone() {
    let block = block();
    let (x, tokens, noise) = (random([1, C, 4, 3], 1), random([1, 6, D], 2), random([1, 1, D], 9));
    let before = run(&block, &x, &tokens, &[3]);
    for (changed, touches_last) in [(3, true), (4, false)] {
        let other = tokens.clone().slice_assign([0..1, changed..changed + 1, 0..D], noise.clone());
        let after = run(&block, &x, &other, &[3]);
        assert_eq!(apart(&before["next"], &after["next"]), 0.0);
        let (one, two) = (&before["language"].data, &after["language"].data);
        let moved = |token: usize| (token * D..(token + 1) * D).any(|index| (one[index] - two[index]).abs() > 1e-5);
        assert_eq!([moved(0), moved(1), moved(2)], [false, false, touches_last], "token {changed}");
    }
}

#[test]
fn a_constant_added_to_a_channel_moves_no_attention() {
    let block = block();
    let (x, tokens) = (random([1, C, 5, 4], 1), random([1, 6, D], 2));
    let before = run(&block, &x, &tokens, &[4]);
    let after = run(&block, &(x.clone() + random([1, C, 1, 1], 7)), &tokens, &[4]);
    for place in ["region0", "region1", "region2", "span0", "span1", "span2", "attended", "answered", "language"] {
        assert!(apart(&before[place], &after[place]) < 2e-4, "{place}: {}", apart(&before[place], &after[place]));
    }
    assert!(apart(&before["visual"], &after["visual"]) > 1e-2);
    // Windows of pixels see where a pixel is: a turned map gives no turned answer.
    let turned = run(&block, &x.clone().flip([3]), &tokens, &[4]);
    let back = array(
        Tensor::<1>::from_floats(turned["attended"].to_f32().as_slice(), &Device::flex())
            .reshape([1, C, 5, 4])
            .flip([3]),
    );
    assert!(apart(&before["attended"], &back) > 1e-2);
}

/// Without windows of tokens the phrase goes through unchanged, and everything else is as before: plain cross-attention.
#[test]
fn a_phrase_that_does_not_ask_stays() {
    let (x, tokens) = (random([2, C, 4, 3], 1), random([2, 6, D], 2));
    let plain = {
        let _alone = support::alone();
        let device = Device::flex();
        device.seed(3);
        let config = MbaConfig { channels: C, width: D, regions: vec![1], spans: Vec::new(), gated: true };
        let plain = config.init(&device);
        initialise(&plain);
        plain
    };
    let made = run(&plain, &x, &tokens, &[6, 4]);
    assert_eq!(made["language"], array(tokens.clone()));
    assert!(!made.contains_key("answered") && !made.contains_key("region1") && made.contains_key("region0"));
    let names: Vec<String> = groundling_nn::checkpoint::parameters(&plain).into_iter().map(|info| info.name).collect();
    assert!(
        names.iter().all(|name| !["text_out", "text_update", "visual_value"].iter().any(|own| name.starts_with(own)))
    );
    // The phrase still matters to the map.
    let other = run(&plain, &x, &random([2, 6, D], 9), &[6, 4]);
    assert!(apart(&made["next"], &other["next"]) > 1e-3);
    let config = DmmiConfig { regions: vec![1], spans: Vec::new(), ..DmmiConfig::tiny() };
    assert!(config.check().is_ok() && config.flops() < DmmiConfig::tiny().flops());
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<DmmiConfig>(&text).unwrap(), config, "no windows are not the usual ones");
}

fn sizes() -> TransformerConfig {
    TransformerConfig {
        width: D,
        heads: 3,
        feed_forward: 24,
        activation: Activation::Relu,
        order: NormOrder::Post,
        dropout: 0.0,
        epsilon: 1e-5,
    }
}

#[test]
fn decoders_know_no_order_of_tokens() {
    let device = Device::flex();
    let (decoder, recovery) = {
        let _alone = support::alone();
        device.seed(4);
        let (decoder, recovery) = (Decoder::new([4, 6, 8, 10], &sizes(), &device), Recovery::new(&sizes(), &device));
        initialise(&decoder);
        initialise(&recovery);
        (decoder, recovery)
    };
    let features =
        || [random([1, 4, 16, 16], 1), random([1, 6, 8, 8], 2), random([1, 8, 4, 4], 3), random([1, 10, 2, 2], 4)];
    let tokens = random([1, 6, D], 5);
    let order = Tensor::<1, Int>::from_ints([3, 0, 5, 1, 4, 2], &device);
    let turned = tokens.clone().select(1, order.clone());
    let low = |tokens: Tensor<3>| array(decoder.forward(features(), tokens, None, &mut Observer::none()).low_logits);
    assert!(apart(&low(tokens.clone()), &low(turned.clone())) < 1e-5);
    let map = random([1, D, 5, 3], 6);
    let one = array(recovery.forward(tokens, map.clone()).select(1, order));
    assert!(apart(&one, &array(recovery.forward(turned, map))) < 1e-5);
}

fn batch(device: &Device, erased: bool) -> Batch {
    let side = DmmiConfig::tiny().image_size;
    let whole = ContentRect { top: 0, left: 0, height: side as u32, width: side as u32 };
    let ids = Tensor::<2, Int>::from_ints([[101, 2417, 4524, 102], [101, 2304, 2604, 102]], device);
    Batch {
        canvases: Tensor::from_data(random([2, 3, side, side], 8).into_data(), device),
        contents: vec![whole; 2],
        lengths: vec![4, 4],
        erased: erased.then(|| ids.clone().slice_fill([0..2, 2..3], 0)),
        same_canvas: Batch::own_canvases(2),
        ids,
    }
}

fn model(device: &Device) -> Dmmi {
    device.seed(6);
    let model = Dmmi::new(&DmmiConfig { dropout: 0.0, ..DmmiConfig::tiny() }, device).unwrap();
    initialise(&model);
    model
}

/// A picture that two phrases are about is read once, and learned from twice.
#[test]
fn a_shared_canvas_is_read_once() {
    let device = Device::flex().autodiff();
    let mut batch = batch(&device, true);
    let _alone = support::alone();
    let model = model(&device);
    let canvas = batch.canvases.clone().narrow(0, 0, 1);
    batch.canvases = Tensor::cat(vec![canvas.clone(), canvas], 0);
    let truth = SampleTruth { bbox: Some(BoxCxcywh::new(0.5, 0.25, 0.5, 0.5)), ..SampleTruth::default() };
    let truths = [truth, SampleTruth::default()];
    let learn = |batch: &Batch| {
        let total = model.losses(batch, &truths, &Criterion::default()).total;
        let learned = gradients(&model, &total.clone().backward());
        let first = learned.into_iter().filter(|(info, _)| info.name.starts_with("network.backbone.layers.0.blocks.0"));
        (total.into_scalar::<f32>(), first.flat_map(|(_, values)| values).collect::<Vec<f32>>())
    };
    let (apart, from_both) = learn(&batch);
    batch.same_canvas = vec![0, 0];
    let (shared, from_one) = learn(&batch);
    assert_eq!(shared, apart);
    let largest = from_both.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    assert!(largest > 0.0 && from_both.len() == from_one.len());
    for (both, one) in from_both.iter().zip(&from_one) {
        assert!((both - one).abs() < 1e-4 * largest, "{one}, not {both}, the largest is {largest}");
    }
}

#[test]
fn truths_become_targets() {
    let device = Device::flex().autodiff();
    // Made before the generator is held.
    let (batch, unerased) = (batch(&device, true), batch(&device, false));
    let _alone = support::alone();
    let model = model(&device);
    let term = |truths: &[SampleTruth], name: &str| {
        let losses = model.losses(&batch, truths, &Criterion::default());
        losses.terms.into_iter().find(|(term, _)| term == name).unwrap().1.into_scalar::<f32>()
    };
    let bbox = Some(BoxCxcywh::new(0.5, 0.25, 0.5, 0.5));
    let square = |side: u32| {
        let inside = move |row: u32, column: u32| row < side / 2 && (side / 4..side - side / 4).contains(&column);
        Some(BinaryMask::from_fn(ImageSize::square(side).unwrap(), inside))
    };
    let truth = |bbox, mask| SampleTruth { bbox, mask, ..SampleTruth::default() };
    let with = |mask| [truth(bbox, mask), truth(None, None)];
    // A mask of another size is resized; without a mask the box is the mask.
    let expected = term(&with(square(64)), "segmentation");
    assert_eq!(term(&with(square(32)), "segmentation"), expected);
    assert_eq!(term(&with(None), "segmentation"), expected);
    assert_ne!(term(&[truth(None, None), truth(None, None)], "segmentation"), expected);
    // Phrases that fit nothing: the recovery says 1, the contrast 0.
    let nothing = [truth(None, square(64).map(|mask| BinaryMask::empty(mask.size()))), truth(None, None)];
    assert_eq!((term(&nothing, "recovery"), term(&nothing, "contrast")), (1.0, 0.0));
    let recovery = term(&with(None), "recovery");
    assert!(recovery != 1.0 && (0.0..2.0).contains(&recovery), "{recovery}");
    // What is not erased is recovered from itself.
    let whole = model.losses(&unerased, &with(None), &Criterion::default()).terms[1].1.clone();
    assert_ne!(whole.into_scalar::<f32>(), recovery);
    // Losses that weigh nothing are not computed.
    let plain = Criterion { recovery: 0.0, contrast: 0.0, ..Criterion::default() };
    assert_eq!(model.losses(&batch, &with(None), &plain).terms.len(), 1);
}

#[test]
fn auxiliary_losses_are_added_and_their_heads_are_not_released() {
    let device = Device::flex().autodiff();
    let batch = batch(&device, true);
    let _alone = support::alone();
    let plain = model(&device);
    let names = support::trainable(&plain);
    let criterion = Criterion { presence: 0.5, named: 0.25, ..Criterion::default() };
    let model = plain.for_training(&criterion).unwrap();
    let object = |x: f64, named| {
        let bbox = BoxCxcywh::new(x, 0.5, 0.3, 0.8);
        TruthObject { bbox, class: None, unshown_classes: 0, is_target: false, named: Some(named) }
    };
    let truths = |objects: Vec<TruthObject>| {
        let bbox = objects.first().map(|object| object.bbox);
        [SampleTruth { bbox, objects, ..SampleTruth::default() }, SampleTruth::default()]
    };
    let losses =
        model.losses(&batch, &truths(vec![object(0.2, [true, false]), object(0.7, [false, true])]), &criterion);
    let weights = [1.0, criterion.recovery, criterion.contrast, criterion.presence, criterion.named, criterion.named];
    let expected = ["segmentation", "recovery", "contrast", "presence", "named.4", "named.8"];
    assert_eq!(losses.terms.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), expected);
    let values: Vec<f64> = losses.terms.iter().map(|(_, value)| value.clone().into_scalar::<f32>().into()).collect();
    let total = f64::from(losses.total.clone().into_scalar::<f32>());
    let sum: f64 = values.iter().zip(weights).map(|(value, weight)| value * weight).sum();
    assert!((total - sum).abs() < 1e-5 * sum, "{total} instead of {sum}");
    assert!(values[3..].iter().all(|&value| value > 0.0 && value.is_finite()), "{values:?}");
    let gradients = losses.total.backward();
    let found = groundling_nn::checkpoint::gradients(&model, &gradients);
    let moved = |start: &str| found.iter().any(|(name, _)| name.name.starts_with(start));
    assert!(moved("aux.named.0") && moved("aux.named.1"), "heads learn");
    // What the nouns fit matters, and which noun it is.
    let term = |objects| {
        let losses = model.losses(&batch, &truths(objects), &criterion);
        losses.terms.into_iter().find(|(name, _)| name == "named.8").unwrap().1.into_scalar::<f32>()
    };
    let one = term(vec![object(0.2, [true, false]), object(0.7, [false, true])]);
    assert_ne!(one, term(vec![object(0.2, [false, true]), object(0.7, [true, false])]));
    let released = model.for_release(&criterion);
    assert_eq!(support::trainable(&released), names);
    assert!(Criterion { named: -1.0, ..Criterion::default() }.check().is_err());
    assert!(Criterion { presence: f64::INFINITY, ..Criterion::default() }.check().is_err());
    assert!(Criterion { presence_pixels: 0.0, ..Criterion::default() }.check().is_err());
}

/// The odds of the likeliest pixels are the odds that something is there.
#[test]
fn presence_is_low_where_some_pixels_are_likely_and_something_fits() {
    let device = Device::flex().autodiff();
    let batch = batch(&device, true);
    let _alone = support::alone();
    let model = model(&device);
    let value = |some: bool, presence_pixels: f64| {
        let criterion =
            Criterion { presence: 1.0, presence_pixels, recovery: 0.0, contrast: 0.0, ..Criterion::default() };
        let bbox = some.then(|| BoxCxcywh::new(0.5, 0.5, 0.5, 0.5));
        let truths = [0, 1].map(|_| SampleTruth { bbox, ..SampleTruth::default() });
        let losses = model.losses(&batch, &truths, &criterion);
        losses.terms.into_iter().find(|(name, _)| name == "presence").unwrap().1.into_scalar::<f32>()
    };
    // Both cross-entropies of the same odds o: log(1 + e^o) and log(1 + e^-o), which differ by o.
    let odds: Vec<f32> = {
        let first = model.network().first(batch.canvases.clone());
        let valid = Tensor::<2>::ones([2, 20], &device).slice_fill([0..2, 4..20], 0.0);
        let ids = Tensor::cat(vec![batch.ids.clone(), Tensor::zeros([2, 16], &device)], 1);
        let tokens = model.embed(ids, valid.clone());
        let language = Language { tokens, valid };
        let output = model.network().forward(first, &language, None, [64, 64], &mut Observer::none());
        let low = output.decoded.low_logits;
        let odds = (low.clone().narrow(1, 1, 1) - low.narrow(1, 0, 1)).reshape([2, 256]);
        odds.exp().sum_dim(1).log().into_data().iter::<f32>().collect()
    };
    for pixels in [8.0, 32.0] {
        let difference = (odds[0] + odds[1]) / 2.0 - (pixels as f32).ln();
        let [without, with] = [false, true].map(|some| value(some, pixels));
        assert!((without - with - difference).abs() < 1e-4, "{pixels}: {without} {with} {odds:?}");
    }
}

/// Words that ask whether anything fits: what they say is what presence teaches, on top of what the pixels say.
#[test]
fn words_may_say_whether_anything_fits() {
    let device = Device::flex().autodiff();
    let batch = batch(&device, true);
    let _alone = support::alone();
    let config = DmmiConfig { dropout: 0.0, absence_layers: 2, ..DmmiConfig::tiny() };
    device.seed(6);
    let model = Dmmi::new(&config, &device).unwrap();
    initialise(&model);
    // As inference does, training follows the running statistics.
    let criterion =
        Criterion { presence: 1.0, recovery: 0.0, contrast: 0.0, fixed_norms: true, ..Criterion::default() };
    let model = model.for_training(&criterion).unwrap();
    let bbox = |some: bool| some.then(|| BoxCxcywh::new(0.5, 0.5, 0.5, 0.5));
    let truths = |some: [bool; 2]| some.map(|some| SampleTruth { bbox: bbox(some), ..SampleTruth::default() });
    let presence = |some: [bool; 2]| {
        let losses = model.losses(&batch, &truths(some), &criterion);
        losses.terms.into_iter().find(|(name, _)| name == "presence").unwrap().1.into_scalar::<f32>()
    };
    // Cross-entropies of the same odds o for both answers differ by o, and an answer's score is that of -o.
    let inference = model.valid();
    let canvas =
        |pair: usize| Tensor::<4>::from_data(batch.canvases.clone().narrow(0, pair, 1).into_data(), &Device::flex());
    let ids = [[101, 2417, 4524, 102], [101, 2304, 2604, 102]];
    let whole = batch.contents[0];
    for pair in [0, 1] {
        let view = inference.read_canvas(canvas(pair), whole);
        let answer = inference.ground(&inference.read_phrase(&ids[pair]), &view, &GroundOptions::default()).unwrap();
        let score = f64::from(answer.no_target.unwrap());
        let mut with = [false; 2];
        let without = presence(with);
        with[pair] = true;
        let odds = 2.0 * f64::from(without - presence(with));
        assert!((score - 1.0 / (1.0 + odds.exp())).abs() < 1e-4, "{score}, odds {odds}");
        let pixels = answer.mask.unwrap().highest();
        assert!((odds - f64::from(pixels)).abs() > 1e-3, "the words say more than the likeliest pixel");
    }
    let gradients = gradients(&model, &model.losses(&batch, &truths([true, false]), &criterion).total.backward());
    let head = gradients
        .iter()
        .filter(|(info, values)| info.name.starts_with("network.absence.") && values.iter().any(|value| *value != 0.0));
    // Two layers of 26 numbers, and two of the sum.
    assert!(head.count() > 40, "all of it learns");
    let text = serde_json::to_string(&DmmiConfig::tiny()).unwrap();
    let before = text.replace(",\"absence_layers\":0,\"moves\":[]", "");
    assert!(before != text && serde_json::from_str::<DmmiConfig>(&before).unwrap() == DmmiConfig::tiny());
    assert!(config.flops() > DmmiConfig::tiny().flops());
    assert!(DmmiConfig { absence_layers: 5000, ..DmmiConfig::tiny() }.check().is_err());
}

/// Each further reading is of the moved picture, its map is moved back, and answers are means.
#[test]
fn readings_of_moved_pictures_are_averaged() {
    let device = Device::flex();
    let canvas = random([1, 3, 64, 64], 9);
    let _alone = support::alone();
    let config = DmmiConfig { dropout: 0.0, absence_layers: 1, ..DmmiConfig::tiny() };
    device.seed(6);
    let once = Dmmi::new(&config, &device).unwrap();
    initialise(&once);
    let answer = |moves: &[[i64; 2]], canvas: &Tensor<4>| {
        let config = DmmiConfig { moves: moves.to_vec(), ..config.clone() };
        let model = Dmmi::new(&config, &device).unwrap().load_record(once.clone().into_record());
        let whole = ContentRect { top: 0, left: 0, height: 64, width: 64 };
        let view = model.read_canvas(canvas.clone(), whole);
        let answer = model.ground(&model.read_phrase(&[101, 2417, 4524, 102]), &view, &GroundOptions::default());
        let answer = answer.unwrap();
        let score = f64::from(answer.no_target.unwrap());
        ((1.0 / score - 1.0).ln(), answer.mask.unwrap().logits, answer.flops)
    };
    let (odds, mask, flops) = answer(&[], &canvas);
    let (again, same, twice) = answer(&[[0, 0]], &canvas);
    assert!((odds - again).abs() < 1e-5 && mask == same && (flops + 1..2 * flops).contains(&twice));
    // Three to the right, two up: column c reads column c - 3, row r reads row r + 2.
    let at = |from: &dyn Fn(i64) -> i64| {
        let places: Vec<i64> = (0..64).map(|place| from(place).clamp(0, 63)).collect();
        Tensor::<1, Int>::from_data(burn::tensor::TensorData::new(places, [64]), &device)
    };
    let there = canvas.clone().select(3, at(&|column| column - 3)).select(2, at(&|row| row + 2));
    let (moved_odds, moved_mask, _) = answer(&[], &there);
    let (mean_odds, mean_mask, _) = answer(&[[3, -2]], &canvas);
    assert!((mean_odds - (odds + moved_odds) / 2.0).abs() < 1e-4 && (odds - moved_odds).abs() > 1e-4);
    for (place, mean) in mean_mask.iter().enumerate() {
        let (row, column) = (place as i64 / 64, place as i64 % 64);
        let back = (row - 2).clamp(0, 63) * 64 + (column + 3).clamp(0, 63);
        let expected = (mask[place] + moved_mask[back as usize]) / 2.0;
        assert!((mean - expected).abs() < 1e-4, "row {row}, column {column}: {mean}, not {expected}");
    }
    assert!(DmmiConfig { moves: vec![[0, 17]], ..DmmiConfig::tiny() }.check().is_err());
    assert!(DmmiConfig { moves: vec![[1, 0]; 65], ..DmmiConfig::tiny() }.check().is_err());
}

#[test]
fn training_follows_the_statistics_unless_they_are_fixed() {
    let device = Device::flex().autodiff();
    let batch = batch(&device, true);
    let _alone = support::alone();
    let truths = [SampleTruth::default(), SampleTruth::default()];
    for fixed in [false, true] {
        let criterion = Criterion { fixed_norms: fixed, trained_text_layers: Some(1), ..Criterion::default() };
        let model = model(&device).for_training(&criterion).unwrap();
        let statistics = || statistics(&model.valid());
        let before = statistics();
        let _ = model.losses(&batch, &truths, &criterion);
        assert_eq!(before == statistics(), fixed);
        let trained = support::trainable(&model);
        assert!(trained.contains("text.encoder.layer.0.output.weight"));
        assert!(
            !trained.iter().any(|name| name.starts_with("text.embeddings") || name.starts_with("text.encoder.layer.1"))
        );
    }
    assert!(Criterion { temperature: 0.0, ..Criterion::default() }.check().is_err());
    assert!(Criterion { recovery: f64::NAN, ..Criterion::default() }.check().is_err());
}

/// Sums of what is called a running statistic.
fn statistics(model: &Dmmi) -> Vec<f32> {
    struct Sums<'a> {
        path: Vec<String>,
        sums: &'a mut Vec<f32>,
    }
    impl burn::module::ModuleVisitor for Sums<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }

        fn visit_float<const N: usize>(&mut self, param: &burn::module::Param<Tensor<N>>) {
            if self.path.last().is_some_and(|name| name.starts_with("running_")) {
                self.sums.push(param.val().sum().into_scalar::<f32>());
            }
        }
    }
    let mut sums = Vec::new();
    model.visit(&mut Sums { path: Vec::new(), sums: &mut sums });
    assert_eq!(sums.len(), 14, "seven norms");
    sums
}
