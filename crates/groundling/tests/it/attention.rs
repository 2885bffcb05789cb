//! Attention of answers: the numbers of training, of levels, and of a system without any.

use burn::tensor::{Device, Int, Tensor, TensorData};
use groundling::attention::{AttentionKind, on_canvas};
use groundling::input::preprocessor;
use groundling::{GroundError, Grounder, Options, Settings};
use groundling_core::{BoxXyxy, ModelIdentity, Phrase};
use groundling_models::attbalance::{Attentive, Domain, Maps, MaskRule, box_mask};
use groundling_models::contract::{Batch, System};
use groundling_models::dmmi::{Dmmi, DmmiConfig};
use groundling_models::qrnet::{QrNet, QrNetConfig};
use groundling_models::scanformer::{ScanFormer, ScanFormerConfig};
use groundling_models::transvg::{TransVg, TransVgConfig};
use groundling_models::vltvg::{Vltvg, VltvgConfig};
use groundling_nn::checkpoint::initialise;
use groundling_testkit::tiny::TinyWorld;

const ASKED: Options =
    Options { threshold: f32::NEG_INFINITY, level: None, budget_gflops: None, attention: true, merge: true };

fn model<M: System>(config: &M::Config) -> M {
    let device = Device::flex();
    let _alone = crate::alone();
    device.seed(3);
    let model = M::init(config, &device).unwrap();
    initialise(&model);
    model
}

fn grounder<M>(model: M) -> Grounder
where
    M: System + Sync + 'static,
    M::Phrase: Sync + 'static,
    M::View: Sync + 'static,
{
    Grounder::from_model(model, ModelIdentity { name: M::NAME.into(), hash: String::new() }, Settings::default())
}

/// What the library says of an answer is what training supervises, for a picture with padding on both sides.
fn the_same_as_in_training<M>(config: &M::Config, layers: usize)
where
    M: Attentive + Sync + 'static,
    M::Phrase: Sync + 'static,
    M::View: Sync + 'static,
{
    let (model, world) = (model::<M>(config), TinyWorld::new(60, 90, 3));
    let pixels = image::load_from_memory(&world.to_bmp()).unwrap().into_rgb8();
    let prepared = preprocessor(&M::input(config)).prepare(&pixels).unwrap();
    let placement = prepared.placement;
    let truth = BoxXyxy::new(10.0, 5.0, 50.0, 40.0);
    let phrase = Phrase::parse("the red block").unwrap();
    let asked = grounder(model.clone());
    let ids = asked.pieces(&phrase).ids;

    let device = Device::flex();
    let side = M::input(config).side as usize;
    let batch = Batch {
        canvases: Tensor::from_data(TensorData::new(prepared.pixels, [1, 3, side, side]), &device),
        contents: vec![placement.content()],
        ids: Tensor::<2, Int>::from_data(
            TensorData::new(ids.iter().map(|&id| i64::from(id)).collect::<Vec<_>>(), [1, ids.len()]),
            &device,
        ),
        lengths: vec![ids.len()],
        erased: None,
        same_canvas: Batch::own_canvases(1),
    };
    let attended = model.attend(&batch, &(0..layers).collect::<Vec<_>>());
    let target = on_canvas(&placement, truth);
    let mut start = 0;
    let mut inside = Vec::new();
    for &grid in &attended.grids {
        let cells = grid[0] * grid[1];
        inside.extend(box_mask(target, grid, Some(&attended.padding[start..start + cells]), MaskRule::Overlap));
        start += cells;
    }
    let maps = Maps::new(&attended, &inside, Domain::Visual);
    let trained: Vec<f32> = maps.log_inside.exp().into_data().iter::<f32>().collect();

    let answer = asked.open_image(&pixels).unwrap().ground_phrase(&phrase, &ASKED).unwrap();
    let found = answer.attention(AttentionKind::Map).unwrap();
    assert_eq!((found.len(), trained.len()), (layers, layers), "{}", M::NAME);
    for (map, trained) in found.iter().zip(&trained) {
        let sum: f32 = map.values.iter().sum();
        assert!((sum - 1.0).abs() < 1e-5, "{} {}: {sum}", M::NAME, map.name);
        let inside = map.inside(target, MaskRule::Overlap);
        assert!((inside - f64::from(*trained)).abs() < 1e-5, "{} {}: {inside} {trained}", M::NAME, map.name);
        assert!(inside > 0.01 && inside < 0.99 && map.inside_if_even(target, MaskRule::Overlap) < 0.9);
        assert_eq!(map.bbox, answer.prediction.best().unwrap().bbox);
    }
    let weights = answer.attention(AttentionKind::Weights).unwrap();
    assert!(weights.iter().all(|map| map.values.iter().sum::<f32>() <= 1.0 + 1e-5));
}

#[test]
fn answers_show_the_attention_that_training_supervises() {
    let (transvg, vltvg, qrnet) = (TransVgConfig::tiny(), VltvgConfig::tiny(), QrNetConfig::tiny());
    the_same_as_in_training::<TransVg>(&transvg, transvg.fusion_layers);
    the_same_as_in_training::<Vltvg>(&vltvg, vltvg.decoder_stages);
    the_same_as_in_training::<QrNet>(&qrnet, qrnet.fusion_layers);
}

#[test]
fn every_level_of_scanformer_has_its_maps() {
    let config = ScanFormerConfig::tiny();
    let grounder = grounder(model::<ScanFormer>(&config));
    let session = grounder.open_image(&TinyWorld::new(60, 90, 3).to_bmp()).unwrap();
    let answer = session.ground_with("the red block", &ASKED).unwrap();
    let maps = answer.attention(AttentionKind::Map).unwrap();
    assert_eq!(maps.len(), answer.explain.levels.len() * config.layers);
    assert_eq!(maps[config.layers].name, "level 1, layer 0");
    assert!(maps.iter().all(|map| (map.values.iter().sum::<f32>() - 1.0).abs() < 1e-4));
    let weights = answer.attention(AttentionKind::Weights).unwrap();
    assert!(
        weights
            .iter()
            .zip(&maps)
            .all(|(weights, map)| weights.values.iter().sum::<f32>() < 0.999 && weights.bbox == map.bbox)
    );
    // Only the coarsest level is read: nothing was looked at on the others, which is 0 and not the nearest cell.
    let least = Options { threshold: f32::INFINITY, ..ASKED };
    let coarse = session.ground_with("the red block", &least).unwrap().attention(AttentionKind::Map).unwrap();
    let target = on_canvas(session.placement(), BoxXyxy::new(10.0, 5.0, 50.0, 40.0));
    let inside: Vec<f64> = coarse.iter().map(|map| map.inside(target, MaskRule::Overlap)).collect();
    assert!(inside[0] > 0.0 && inside[config.layers..].iter().all(|&inside| inside == 0.0), "{inside:?}");
}

#[test]
fn a_system_without_an_answering_token_is_an_error_with_a_hint() {
    let grounder = grounder(model::<Dmmi>(&DmmiConfig::tiny()));
    let session = grounder.open_image(&TinyWorld::new(60, 90, 3).to_bmp()).unwrap();
    let answer = session.ground_with("the red block", &ASKED).unwrap();
    let error = answer.attention(AttentionKind::Map).unwrap_err();
    assert!(matches!(&error, GroundError::NoAttention { model } if model == "dmmi"), "{error}");
    assert!(error.hint().unwrap().contains("DMMI"));
}

#[test]
fn what_was_not_asked_for_is_not_there() {
    let grounder = grounder(model::<TransVg>(&TransVgConfig::tiny()));
    let session = grounder.open_image(&TinyWorld::new(60, 90, 3).to_bmp()).unwrap();
    let answer = session.ground_with("the red block", &Options::default()).unwrap();
    assert!(answer.trace.is_none() && answer.attention(AttentionKind::Map).is_err());
}
