use groundling_data::image::preprocess::Preprocessor;
use groundling_testkit::{Array, Folder};
use serde::Deserialize;

use super::picture;

#[derive(Deserialize)]
struct Config {
    image_size: u32,
    mean: [f32; 3],
    std: [f32; 3],
}

#[test]
fn preprocessing() {
    for case in Folder::open("scanformer").of_kinds(&["preprocess"], 4) {
        let config: Config = case.config();
        let preprocessor =
            Preprocessor { mean: config.mean, std: config.std, ..Preprocessor::scanformer(config.image_size) };
        let prepared = preprocessor.prepare(&picture(&case.input("pixels"))).unwrap();
        let side = config.image_size as usize;
        let content = prepared.placement.content();
        let rect = [content.top, content.left, content.height, content.width];
        let mut report = case.report();
        report.check("canvas", &Array::from_values([3, side, side], &prepared.pixels));
        report.check("rect", &Array::from_values([4], &rect));
        // The tolerance is for grey levels inside; padding is exactly zero.
        let zero = prepared
            .pixels
            .chunks_exact(side * side)
            .all(|plane| plane.iter().zip(&prepared.padding).all(|(&value, &padding)| !padding || value == 0.0));
        report.require(zero, "padding is not zero");
        report.finish();
    }
}
