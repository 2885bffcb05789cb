//! What the fuzz targets of `fuzz/` do with their bytes; the ordinary tests replay the checked-in corpus through the same
//! functions. Each must return, whatever the bytes.

use std::path::Path;
use std::sync::OnceLock;

use groundling_core::{ImageSize, Rle};

use crate::image::decode::{ExifOrientation, ImageLimits, decode_bytes};
use crate::pickle::{Pickle, PickleLimits};
use crate::readers::resc::ListBox;
use crate::readers::{coco, refer, resc};
use crate::scenes::{Scene, SceneConfig, Scenes, Split, resolve};
use crate::text::wordpiece::WordPiece;

/// The image door, with limits small enough for many runs a second.
pub fn image(bytes: &[u8]) {
    let limits = ImageLimits {
        max_height: 2048,
        max_width: 2048,
        max_pixels: 1 << 20,
        max_alloc_bytes: 32 << 20,
        ..ImageLimits::default()
    };
    if let Ok(image) = decode_bytes(bytes, limits, ExifOrientation::Apply) {
        assert!(u64::from(image.width()) * u64::from(image.height()) <= limits.max_pixels);
    }
}

/// The pickle reader, and the two readers on top of it.
pub fn pickle(bytes: &[u8]) {
    let limits = PickleLimits { max_values: 1 << 16, ..PickleLimits::default() };
    if let Ok((pickle, used)) = Pickle::read_prefix(bytes, limits) {
        assert!(used <= bytes.len());
        let _ = format!("{:?}", pickle.root());
    }
    let _ = refer::parse_refs(bytes, Path::new("refs(unc).p"));
    let _ = resc::parse(bytes, Path::new("unc_val.pth"), ListBox::Xywh, Vec::new());
}

/// Compressed run lengths: the first two bytes are the size.
pub fn rle(bytes: &[u8]) {
    let [height, width, code @ ..] = bytes else { return };
    let Ok(size) = ImageSize::new(u32::from(*height), u32::from(*width)) else { return };
    let Ok(code) = Rle::from_compressed(size, &String::from_utf8_lossy(code)) else { return };
    let mask = code.to_mask();
    assert_eq!(mask.area(), code.area());
    assert_eq!(mask.bbox(), code.bbox());
    assert_eq!(Rle::from_mask(&mask).to_mask(), mask);
}

/// Our own lines.
pub fn jsonl(bytes: &[u8]) {
    if let Ok(dataset) = crate::readers::jsonl::parse(bytes, Path::new("fuzz.jsonl")) {
        draw_small(&dataset);
    }
}

/// COCO annotations.
pub fn coco_json(bytes: &[u8]) {
    if let Ok(dataset) = coco::parse(bytes, Path::new("fuzz.json"), Vec::new()) {
        draw_small(&dataset);
    }
}

/// The tokeniser: spans must lie inside the text, on characters.
pub fn wordpiece(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let encoded = WordPiece::bert_base_uncased().encode(&text);
    assert_eq!(encoded.ids.len(), encoded.spans.len());
    assert!(encoded.spans.iter().all(|span| text.get(span.clone()).is_some()));
}

/// The reader of phrases, on one small scene: an answer names objects of the scene, each once, in ascending order.
pub fn scene_phrase(bytes: &[u8]) {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    let scene = SCENE.get_or_init(|| {
        let size = ImageSize::square(64).expect("64 is a positive side");
        let scenes = Scenes::new(SceneConfig::with_size(size), Split::Test, 1).expect("64 is an allowed side");
        scenes.scene(0)
    });
    let text = String::from_utf8_lossy(bytes);
    if let Ok(found) = resolve(&text, scene) {
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "{text:?}: {found:?}");
        assert!(found.iter().all(|&index| index < scene.objects.len()), "{text:?}: {found:?}");
    }
}

/// Draws the outlines of images that are small enough for a fuzzer's patience.
fn draw_small(dataset: &crate::Dataset) {
    for (index, annotation) in dataset.annotations.iter().enumerate() {
        if dataset.images[annotation.image].size.is_some_and(|size| size.pixels() < 1 << 16) {
            let _ = dataset.annotation_mask(index, crate::MaskRule::ExactlyOne);
        }
    }
}
