//! Fixtures of the reference implementations.

mod dmmi {
    use groundling_core::{ImageSize, Rle, mask::nearest_indices};
    use groundling_testkit::{Array, Folder};
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Coded {
        height: u32,
        width: u32,
        polygon: Option<Vec<f64>>,
        runs_colmajor: Vec<u32>,
        compressed: String,
        area: u64,
    }

    #[test]
    fn polygons_and_run_lengths() {
        let folder = Folder::open("dmmi");
        let mut polygons = 0;
        for case in folder.of_kinds(&["polygons", "rle"], 2) {
            let rows: Vec<Coded> = serde_json::from_value(case.file_json()).unwrap();
            assert!(!rows.is_empty(), "{} has no rows", case.name());
            for (index, row) in rows.iter().enumerate() {
                let place = format!("{} {index}", case.name());
                let size = ImageSize::new(row.height, row.width).unwrap();
                let code = Rle::from_compressed(size, &row.compressed).unwrap();
                assert_eq!(code.counts(), row.runs_colmajor, "{place}");
                assert_eq!(code.to_compressed(), row.compressed, "{place}");
                assert_eq!(code.area(), row.area, "{place}");
                assert_eq!(Rle::from_mask(&code.to_mask()).to_compressed(), row.compressed, "{place}");
                if let Some(polygon) = &row.polygon {
                    polygons += 1;
                    let drawn = Rle::from_polygon(size, polygon).unwrap();
                    assert_eq!(drawn.counts(), row.runs_colmajor, "{place}");
                }
            }
        }
        assert!(polygons > 0, "no polygon was drawn");
    }

    #[derive(Deserialize)]
    struct Nearest {
        size_from: u32,
        size_to: u32,
    }

    #[test]
    fn nearest_index_tables() {
        for case in Folder::open("dmmi").of_kinds(&["nearest_index"], 13) {
            let config: Nearest = case.config();
            let indices = nearest_indices(config.size_from, config.size_to);
            let mut report = case.report();
            report.check("index", &Array::from_values([indices.len()], &indices));
            report.finish();
        }
    }
}

mod vltvg {
    use groundling_core::{Anchor, BoxCxcywh, ImageSize, Placement, Rounding, Unit};
    use groundling_testkit::{Array, Folder};

    /// Model output to boxes of the original image: the canvas is square, the content where `dxdy` says.
    #[test]
    fn boxes_come_back_to_the_image() {
        for case in Folder::open("vltvg").of_kinds(&["postprocess"], 2) {
            let (boxes, original) = (case.input("boxes"), case.input("orig_size"));
            let (size, corner, ratio) = (case.input("size"), case.input("dxdy"), case.input("ratio"));
            let mut found = Vec::new();
            for (row, cxcywh) in boxes.data.chunks_exact(4).enumerate() {
                let pair = |array: &Array| (array.data[2 * row], array.data[2 * row + 1]);
                let side = |length: f64, ratio: f64| Rounding::HalfEven.side(length * ratio);
                let ((height, width), (ratio_y, ratio_x)) = (pair(&original), pair(&ratio));
                let image = ImageSize::new(height as u32, width as u32).unwrap();
                let resized = ImageSize::new(side(height, ratio_y), side(width, ratio_x)).unwrap();
                let (canvas_height, canvas_width) = pair(&size);
                let canvas = ImageSize::new(canvas_height as u32, canvas_width as u32).unwrap();
                let (left, top) = pair(&corner);
                let anchor = Anchor::At { top: top as u32, left: left as u32 };
                let placement = Placement::padded(image, resized, canvas, anchor).unwrap();
                let placement = placement.with_box_scales(ratio_x, ratio_y);
                let unit = BoxCxcywh::<Unit>::new(cxcywh[0], cxcywh[1], cxcywh[2], cxcywh[3]).to_xyxy();
                found.extend(placement.image_from_model(placement.canvas_from_unit(unit)).to_array());
            }
            let mut report = case.report();
            report.check("boxes", &Array::new([found.len() / 4, 4], found));
            report.finish();
        }
    }
}
