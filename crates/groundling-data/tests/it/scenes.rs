//! Pixels, masks, splits and determinism of the generated world.

use std::collections::HashSet;

use groundling_core::{BinaryMask, BoxXyxy, ImageSize, Rle, TargetCount};
use groundling_data::scenes::{
    Fill, KindWeights, MAX_REACH, MIN_VISIBLE, Scene, SceneConfig, SceneError, Scenes, Shape, Shares, SizeClass, Split,
    is_held_out,
};
use rayon::prelude::*;

fn size(height: u32, width: u32) -> ImageSize {
    ImageSize::new(height, width).unwrap()
}

fn world(height: u32, width: u32, split: Split) -> Scenes {
    Scenes::new(SceneConfig::with_size(size(height, width)), split, 7).unwrap()
}

/// FNV-1a, enough to notice a changed bit.
fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn a_pixel_belongs_to_the_topmost_object_that_covers_half_of_it() {
    for (height, width) in [(32, 32), (64, 64), (57, 96), (128, 40), (150, 200), (33, 300)] {
        for index in 0..12 {
            let scene = world(height, width, Split::Test).scene(index);
            let silhouettes: Vec<_> = scene.objects.iter().map(|object| object.silhouette()).collect();
            let mut masks = vec![BinaryMask::empty(scene.size); silhouettes.len()];
            let mut full = vec![0u32; silhouettes.len()];
            for row in 0..height {
                for column in 0..width {
                    let covers: Vec<bool> = silhouettes.iter().map(|s| s.coverage(row, column) >= 0.5).collect();
                    covers.iter().zip(&mut full).for_each(|(&covers, full)| *full += u32::from(covers));
                    if let Some(top) = covers.iter().rposition(|&covers| covers) {
                        masks[top].set(row, column, true);
                    }
                }
            }
            for ((object, mask), full) in scene.objects.iter().zip(&masks).zip(full) {
                assert!(object.mask == Rle::from_mask(mask), "{} at {height}x{width}: {}", scene.id, object.shape);
                assert_eq!(Some(object.bbox), mask.bbox());
                assert_eq!(object.visible_share, mask.area() as f64 / f64::from(full));
                assert!(object.visible_share >= MIN_VISIBLE);
            }
        }
    }
}

#[test]
fn masks_and_pixels_agree() {
    let mut checked = 0;
    for index in 0..40 {
        let scene = world(200, 240, Split::Train).scene(index);
        for object in scene.objects.iter().filter(|object| object.fill == Fill::Solid) {
            let (silhouette, mask) = (object.silhouette(), object.mask.to_mask());
            for row in 0..200 {
                for column in 0..240 {
                    let depth = silhouette.distance(f64::from(column) + 0.5, f64::from(row) + 0.5);
                    // Shadows of objects on top fall on this one: look where none of them is near.
                    let shaded = scene.objects.iter().any(|other| {
                        let (dx, dy) = (other.centre.0 - f64::from(column), other.centre.1 - f64::from(row));
                        other.centre != object.centre && dx * dx + dy * dy < (1.6 * other.radius).powi(2)
                    });
                    if mask.get(row, column) && depth < -5.0 && !shaded {
                        assert_eq!(scene.image.get_pixel(column, row).0, object.rgb, "{} {}", scene.id, object.shape);
                        checked += 1;
                    }
                }
            }
        }
    }
    assert!(checked > 10_000, "only {checked} pixels were looked at");
}

#[test]
fn scenes_keep_to_their_configuration() {
    let (mut shapes, mut fills, mut sizes) = (HashSet::new(), HashSet::new(), HashSet::new());
    let (mut counts, mut hidden) = (HashSet::new(), 0);
    for index in 0..600 {
        let scene = world(96, 96, Split::Val).scene(index);
        assert!((3..=12).contains(&scene.objects.len()) && (3..=8).contains(&scene.expressions.len()), "{}", scene.id);
        counts.insert(scene.objects.len());
        for object in &scene.objects {
            let (low, high) = object.size_class.radius_range();
            assert!((low * 96.0..=high * 96.0).contains(&object.radius));
            let reach = MAX_REACH * object.radius;
            let (x, y) = object.centre;
            assert!(x.min(y) >= reach && x.max(y) <= 96.0 - reach, "{} leaves the image", object.shape);
            assert!(object.shape.allows(object.fill));
            let channels = object.rgb.iter().zip(object.colour.rgb());
            assert!(channels.clone().all(|(&a, b)| a.abs_diff(b) <= 9), "{:?}", object.rgb);
            hidden += usize::from(object.visible_share < 0.9);
            shapes.insert(object.shape);
            fills.insert(object.fill);
            sizes.insert(object.size_class);
        }
    }
    assert_eq!((shapes.len(), fills.len(), sizes.len(), counts.len()), (Shape::ALL.len(), 4, 3, 10));
    assert!(hidden > 200, "only {hidden} objects are partly hidden");
}

#[test]
fn sixteen_objects_find_room_in_any_image() {
    for (height, width) in [(32, 32), (64, 300)] {
        let config = SceneConfig { min_objects: 16, max_objects: 16, ..SceneConfig::with_size(size(height, width)) };
        let scenes = Scenes::new(config, Split::Test, 1).unwrap();
        for index in 0..20 {
            assert_eq!(scenes.scene(index).objects.len(), 16, "{height}x{width} {index}");
        }
    }
}

#[test]
fn sizes_of_a_class_look_alike() {
    let mut extents: Vec<(SizeClass, f64)> = Vec::new();
    for index in 0..150 {
        let scene = world(256, 256, Split::Train).scene(index);
        for object in scene.objects.iter().filter(|object| object.visible_share == 1.0) {
            extents.push((object.size_class, f64::sqrt(object.mask.area() as f64) / 256.0));
        }
    }
    let of = |class| extents.iter().filter(move |e| e.0 == class).map(|e| e.1);
    let mean = |class| of(class).sum::<f64>() / of(class).count() as f64;
    // Thin shapes of one class may cover less than full ones of the class below, but not on average.
    assert!(mean(SizeClass::Medium) > 1.4 * mean(SizeClass::Small));
    assert!(mean(SizeClass::Large) > 1.4 * mean(SizeClass::Medium));
}

#[test]
fn scenes_depend_on_their_names_only() {
    let scenes = world(80, 80, Split::Train);
    let forward: Vec<Scene> = (0..24).map(|index| scenes.scene(index)).collect();
    let mut parallel: Vec<Scene> =
        (0..24u32).into_par_iter().rev().map(|index| scenes.scene(u64::from(index))).collect();
    parallel.reverse();
    assert!(forward == parallel);
    let mut images = HashSet::new();
    for split in Split::ALL {
        for seed in [7, 8] {
            let scenes = Scenes::new(SceneConfig::with_size(size(48, 48)), split, seed).unwrap();
            for index in 0..100 {
                let scene = scenes.scene(index);
                assert_eq!(scene.id, format!("scenes-{}-{seed}-{index:06}", split.name()));
                assert!(images.insert(scene.image.into_raw()), "{} is a repetition", scene.id);
            }
        }
    }
}

/// A change here changes every data set people have made: note it in the changelog.
#[test]
fn scenes_are_what_they_always_were() {
    let scenes = Scenes::new(SceneConfig::default(), Split::Train, 7).unwrap();
    let test = Scenes::new(SceneConfig::with_size(size(96, 160)), Split::Test, 11).unwrap();
    let found: Vec<(u64, u64, u64)> = [scenes.scene(0), scenes.scene(1), scenes.scene(999_983), test.scene(5)]
        .into_iter()
        .map(|scene| {
            let masks = scene.objects.iter().flat_map(|object| object.mask.to_compressed().into_bytes());
            let phrases = scene.expressions.iter().flat_map(|e| e.phrase.clone().into_bytes());
            (hash(masks), hash(phrases), hash(scene.image.as_raw().iter().copied()))
        })
        .collect();
    assert_eq!(found, PINNED, "{found:#x?}");
}

/// Hashes of masks, phrases and pixels.
const PINNED: [(u64, u64, u64); 4] = [
    (0xd974_0a7f_6393_dbbd, 0xffb7_9c87_6cf8_96ce, 0xb694_3a5a_c669_9c31),
    (0x3d7d_f711_2100_ab0d, 0x492b_9c7b_5c14_cf6e, 0xf6f9_21fd_0147_ec16),
    (0x3c47_03d3_3c95_3276, 0xd63e_600e_8f73_0148, 0x98df_2c9a_bc5d_a140),
    (0xd24d_c213_3cf1_e910, 0xc09a_090f_bc4a_d4b6, 0x7131_e66f_78cf_fe4e),
];

#[test]
fn held_out_pairs_are_shown_in_the_test_split_only() {
    for split in [Split::Train, Split::Val] {
        for index in 0..400 {
            let scene = world(64, 64, split).scene(index);
            assert!(scene.objects.iter().all(|object| !is_held_out(object.colour, object.shape)), "{}", scene.id);
            assert!(scene.expressions.iter().all(|expression| !expression.held_out), "{}", scene.id);
        }
    }
    let (mut many, mut many_new, mut pairs) = (0, 0, HashSet::new());
    for index in 0..400 {
        let scene = world(64, 64, Split::Test).scene(index);
        for expression in &scene.expressions {
            let held_out =
                expression.targets.iter().any(|&i| is_held_out(scene.objects[i].colour, scene.objects[i].shape));
            match expression.targets.len() {
                0 => {}
                1 => assert!(held_out && expression.held_out, "{}: {}", scene.id, expression.phrase),
                _ => {
                    assert_eq!(held_out, expression.held_out);
                    many += 1;
                    many_new += u32::from(held_out);
                }
            }
            pairs.extend(expression.targets.iter().map(|&i| (scene.objects[i].colour, scene.objects[i].shape)));
        }
    }
    assert!(many_new * 100 >= many * 97, "{many_new} of {many} plurals hold a new pair");
    assert_eq!(pairs.iter().filter(|pair| is_held_out(pair.0, pair.1)).count(), 20);
}

#[test]
fn truth_has_the_boxes_and_masks_of_the_targets() {
    let scene = world(128, 128, Split::Train).scene(3);
    for expression in &scene.expressions {
        let truth = expression.truth(&scene);
        assert_eq!(truth.is_absent(), expression.targets.is_empty());
        assert_eq!(truth.count() == TargetCount::One, expression.targets.len() == 1);
        for (target, &index) in truth.targets.iter().zip(&expression.targets) {
            let object = &scene.objects[index];
            assert_eq!(target.bbox, object.bbox);
            assert_eq!(target.mask.as_ref(), Some(&object.mask));
            assert_eq!(target.category_id, Some(object.shape.category_id()));
        }
    }
    let whole = BoxXyxy::new(0.0, 0.0, 128.0, 128.0);
    assert!(scene.objects.iter().all(|object| object.bbox.intersection(whole) == object.bbox.area()));
}

#[test]
fn impossible_configurations_are_errors() {
    let good = SceneConfig::default();
    let error = |config: SceneConfig| Scenes::new(config, Split::Train, 0).unwrap_err();
    let tiny = error(SceneConfig { size: size(31, 64), ..good.clone() });
    assert_eq!(tiny.to_string(), "scenes of 64x31 (width x height) pixels: expected sides of 32 to 4096");
    for (min_objects, max_objects) in [(1, 3), (5, 4), (3, 17)] {
        let error = error(SceneConfig { min_objects, max_objects, ..good.clone() });
        assert!(matches!(error, SceneError::Range { what: "objects of a scene", .. }), "{error}");
    }
    let backwards = error(SceneConfig { min_expressions: 4, max_expressions: 3, ..good.clone() });
    assert!(matches!(backwards, SceneError::Range { what: "expressions of a scene", .. }));
    for shares in [(0.0, 0.0, 0.0), (f64::NAN, 1.0, 1.0), (-1.0, 1.0, 1.0)] {
        let shares = Shares { one: shares.0, many: shares.1, zero: shares.2 };
        assert!(matches!(error(SceneConfig { shares, ..good.clone() }), SceneError::Weights { .. }));
    }
    let kind_weights = KindWeights { ordinal: f64::INFINITY, ..KindWeights::default() };
    assert!(matches!(error(SceneConfig { kind_weights, ..good.clone() }), SceneError::Weights { .. }));
    let silent = SceneConfig { min_expressions: 0, max_expressions: 0, ..good };
    assert!(Scenes::new(silent, Split::Train, 0).unwrap().scene(0).expressions.is_empty());
}
