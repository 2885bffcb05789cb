//! Laws that hold for every box, mask and code.

use groundling_core::{Anchor, BinaryMask, BoxXyxy, ImageSize, Pixels, Placement, Rle, Rounding};
use proptest::prelude::*;

fn masks() -> impl Strategy<Value = BinaryMask> {
    (1u32..24, 1u32..24).prop_flat_map(|(height, width)| {
        let size = ImageSize::new(height, width).unwrap();
        proptest::collection::vec(any::<bool>(), (height * width) as usize)
            .prop_map(move |pixels| BinaryMask::from_pixels(size, pixels).unwrap())
    })
}

fn boxes() -> impl Strategy<Value = BoxXyxy<Pixels>> {
    (-50.0..200.0f64, -50.0..200.0f64, 0.01..100.0f64, 0.01..100.0f64)
        .prop_map(|(x, y, width, height)| BoxXyxy::new(x, y, x + width, y + height))
}

proptest! {
    #[test]
    fn codes_keep_masks(mask in masks()) {
        let code = Rle::from_mask(&mask);
        prop_assert_eq!(code.to_mask(), mask.clone());
        prop_assert_eq!(code.bbox(), mask.bbox());
        prop_assert_eq!(Rle::from_compressed(mask.size(), &code.to_compressed()).unwrap(), code);
    }

    #[test]
    fn any_string_is_read_or_refused(text in "\\PC{0,40}", height in 1u32..50, width in 1u32..50) {
        let size = ImageSize::new(height, width).unwrap();
        if let Ok(code) = Rle::from_compressed(size, &text) {
            prop_assert_eq!(code.counts().iter().map(|&c| u64::from(c)).sum::<u64>(), size.pixels());
            code.to_mask();
        }
    }

    #[test]
    fn any_polygon_is_drawn_or_refused(polygon in proptest::collection::vec(-40.0..80.0f64, 0..24)) {
        let size = ImageSize::new(31, 17).unwrap();
        if let Ok(code) = Rle::from_polygon(size, &polygon) {
            prop_assert_eq!(code.counts().iter().map(|&c| u64::from(c)).sum::<u64>(), size.pixels());
        }
    }

    #[test]
    fn iou_is_symmetric_and_bounded(a in boxes(), b in boxes()) {
        prop_assert_eq!(a.iou(b), b.iou(a));
        prop_assert!((0.0..=1.0).contains(&a.iou(b)));
        prop_assert!(a.giou(b) <= a.iou(b) + 1e-12 && a.giou(b) >= -1.0 - 1e-12);
        prop_assert!((a.iou(a) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn boxes_survive_every_letterbox(bbox in boxes(), height in 1u32..3000, width in 1u32..3000, side in 1u32..1000) {
        let image = ImageSize::new(height, width).unwrap();
        let placement = Placement::letterbox(image, side, Rounding::HalfUp, Anchor::Centre).unwrap();
        let back = placement.image_from_model_unclipped(placement.model_from_image(bbox));
        let (scale, _) = (f64::from(height.max(width)), ());
        for (a, b) in back.to_array().iter().zip(bbox.to_array()) {
            prop_assert!((a - b).abs() < 1e-9 * scale.max(200.0), "{back:?} {bbox:?}");
        }
    }
}
