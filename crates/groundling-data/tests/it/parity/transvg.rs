use groundling_core::{Anchor, BoxXyxy, ImageSize, Placement, phrase};
use groundling_data::image::augment::{Jitter, MirrorText, Scene};
use groundling_data::image::preprocess::{Preprocessor, place, target_box};
use groundling_testkit::{Array, Folder};
use image::RgbImage;
use serde::Deserialize;

use super::{array, picture};

#[derive(Deserialize)]
struct Config {
    long_side: u32,
    short_side: u32,
    canvas: u32,
    mean: [f32; 3],
    std: [f32; 3],
    brightness: f32,
    contrast: f32,
    saturation: f32,
    saturation_up: f32,
}

fn jittered(image: &RgbImage, step: Jitter) -> Array {
    let mut image = image.clone();
    step.apply(&mut image);
    array(&image)
}

#[test]
fn preprocessing_and_augmentation() {
    for case in Folder::open("transvg").of_kinds(&["preprocess"], 3) {
        let config: Config = case.config();
        let image = picture(&case.input("image"));
        let bbox = case.input("box").data;
        let scene = Scene {
            image: image.clone(),
            boxes: vec![BoxXyxy::new(bbox[0], bbox[1], bbox[2], bbox[3])],
            masks: Vec::new(),
            phrase: String::new(),
        };
        let boxed = |scene: &Scene| Array::new([4], scene.boxes[0].to_array().to_vec());
        let mut report = case.report();

        let long = scene.clone().long_side(config.long_side);
        report.check("resized_u8", &array(&long.image));
        report.check("box_after_resize", &boxed(&long));
        let short = scene.clone().short_side(config.short_side);
        report.check("short_resized_u8", &array(&short.image));
        report.check("short_box", &boxed(&short));
        report.check("flip_box", &boxed(&long.clone().mirrored(MirrorText::Words)));

        // The canvas is larger than the long side here, so the image goes in already resized.
        let fitted = Preprocessor { mean: config.mean, std: config.std, ..Preprocessor::transvg(config.canvas) };
        let placement =
            Placement::padded(scene.size(), long.size(), ImageSize::square(config.canvas).unwrap(), Anchor::Centre)
                .unwrap();
        let ratio = f64::from(config.long_side) / f64::from(scene.size().long_side());
        let placement = placement.with_box_scales(ratio, ratio);
        let prepared = place(&long.image, placement, fitted.mean, fitted.std);
        let side = config.canvas as usize;
        report.check("canvas", &Array::from_values([3, side, side], &prepared.pixels));
        let padding: Vec<u8> = prepared.padding.iter().map(|&p| u8::from(p)).collect();
        report.check("pad_mask", &Array::from_values([side, side], &padding));
        report.check("box_cxcywh", &Array::new([4], target_box(&placement, scene.boxes[0]).to_array().to_vec()));
        if config.canvas == config.long_side {
            // Then the evaluation preprocessor as a whole must agree too.
            let whole = fitted.prepare(&image).unwrap();
            report.require(whole == prepared, "Preprocessor::transvg differs from its steps");
        }

        report.check("brightness_u8", &jittered(&image, Jitter::Brightness(config.brightness)));
        report.check("contrast_u8", &jittered(&image, Jitter::Contrast(config.contrast)));
        report.check("saturation_u8", &jittered(&image, Jitter::Saturation(config.saturation)));
        report.check("saturation_up_u8", &jittered(&image, Jitter::Saturation(config.saturation_up)));

        let region = case.input("crop_region").data;
        let [top, left, height, width] = [0, 1, 2, 3].map(|i| region[i] as u32);
        let crop = ImageSize::new(height, width).unwrap();
        report.check("crop_box", &boxed(&scene.clone().cropped(top, left, crop)));

        let flips = case.json["expect"]["flip_text"].as_array().unwrap();
        let flipped = phrase::mirror_substrings(flips[0].as_str().unwrap());
        report.require(flipped == flips[1].as_str().unwrap(), format!("mirrored phrase is {flipped:?}"));
        report.finish();
    }
}
