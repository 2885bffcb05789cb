use groundling_core::{ImageSize, shortest_edge_size};
use groundling_data::image::resize::{Filter, resize};
use groundling_testkit::Folder;
use serde::Deserialize;

use super::{array, picture};

#[derive(Deserialize)]
struct Config {
    size: [u32; 2],
}

#[test]
fn resizing() {
    for case in Folder::open("focus_detr").of_kinds(&["image_resize"], 3) {
        let [height, width] = case.config::<Config>().size;
        let size = ImageSize::new(height, width).unwrap();
        let mut report = case.report();
        report.check("resized", &array(&resize(&picture(&case.input("image")), size, Filter::Bilinear)));
        report.finish();
    }
}

#[derive(Deserialize)]
struct Row {
    h: u32,
    w: u32,
    short: u32,
    max: u32,
    out: [u32; 2],
}

#[test]
fn shortest_edge_sizes() {
    for case in Folder::open("focus_detr").of_kinds(&["resize_shapes"], 1) {
        let table = case.file_json()["config"]["shape_table"].clone();
        let rows: Vec<Row> = serde_json::from_value(table).unwrap();
        assert!(!rows.is_empty());
        for Row { h, w, short, max, out } in rows {
            let size = shortest_edge_size(ImageSize::new(h, w).unwrap(), short, Some(max));
            assert_eq!([size.height(), size.width()], out, "{h}x{w} to {short}, at most {max}");
        }
    }
}
