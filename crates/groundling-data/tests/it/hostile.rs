//! Files made to hurt: each must give the error we promise, never a panic and never a large allocation.

use std::path::Path;

use groundling_data::image::decode::{ExifOrientation, ImageError, ImageLimits, decode_bytes, decode_file};
use groundling_data::readers::refer::{parse_refs, read_refs};
use groundling_data::readers::resc::{self, ListBox};
use groundling_data::readers::{coco, jsonl};
use groundling_data::{DatasetError, check};
use groundling_testkit::{fixtures, hostile, scratch};

fn decode(bytes: &[u8]) -> Result<image::RgbImage, ImageError> {
    decode_bytes(bytes, ImageLimits::default(), ExifOrientation::Ignore)
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(width, height).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn a_single_pixel_is_an_image() {
    assert_eq!(decode(&png(1, 1)).unwrap().dimensions(), (1, 1));
}

#[test]
fn sizes_over_the_limit_are_refused_by_the_header() {
    for (width, height) in
        [(20_000, 1), (1, 20_000), (65_000, 65_000), (u32::MAX >> 1, u32::MAX >> 1), (16_000, 16_000)]
    {
        match decode(&hostile::png_header(width, height)).map(drop) {
            Err(ImageError::TooLarge { width: w, height: h, .. }) => assert_eq!((w, h), (width, height)),
            // A size that the decoder itself finds absurd is as good.
            Err(ImageError::Decode { .. }) => assert!(width > 1 << 24),
            Err(other) => panic!("{width}x{height}: {other}"),
            Ok(_) => panic!("{width}x{height} was decoded"),
        }
    }
    assert!(matches!(decode(&png(20_000, 1)), Err(ImageError::TooLarge { .. })));
}

#[test]
fn a_decompression_bomb_stays_small() {
    // 6 000 x 4 000 black pixels: 72 MB of RGB in a hundred kilobytes.
    let bomb = png(6000, 4000);
    assert!(bomb.len() < 500_000, "{} bytes", bomb.len());
    let server = ImageLimits { max_pixels: 10_000_000, ..ImageLimits::default() };
    let refused = decode_bytes(&bomb, server, ExifOrientation::Ignore).map(drop);
    assert!(matches!(refused, Err(ImageError::TooLarge { .. })), "{refused:?}");
    let tight = ImageLimits { max_alloc_bytes: 1 << 20, ..ImageLimits::default() };
    let refused = decode_bytes(&bomb, tight, ExifOrientation::Ignore).map(drop);
    assert!(matches!(refused, Err(ImageError::Memory { found: 72_000_000, .. })), "{refused:?}");
}

#[test]
fn truncated_images_are_errors_at_every_length() {
    for format in [image::ImageFormat::Png, image::ImageFormat::Bmp, image::ImageFormat::Jpeg, image::ImageFormat::WebP]
    {
        let picture = image::RgbImage::from_fn(17, 11, |x, y| image::Rgb([x as u8 * 9, y as u8 * 20, (x * y) as u8]));
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        let bytes = bytes.into_inner();
        assert!(decode(&bytes).is_ok(), "{format:?}");
        let mut refused = 0;
        for end in 0..bytes.len() {
            refused += usize::from(decode(&bytes[..end]).is_err());
        }
        // JPEG decoders draw what they have of the last rows, as browsers do; the header must be there all the same.
        assert!(refused * 2 > bytes.len(), "{format:?}: only {refused} of {} truncations refused", bytes.len());
    }
}

#[test]
fn not_an_image() {
    assert!(matches!(decode(b""), Err(ImageError::UnknownFormat { .. })));
    assert!(matches!(decode(b"GIF89a.........."), Err(ImageError::UnknownFormat { .. })));
    assert!(matches!(decode(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), Err(ImageError::UnknownFormat { .. })));
    let folder = scratch("image-folder");
    let error = decode_file(&folder, ImageLimits::default(), ExifOrientation::Ignore).unwrap_err();
    assert!(matches!(error, ImageError::IsFolder { .. }), "{error}");
    let missing = decode_file(&folder.join("none.png"), ImageLimits::default(), ExifOrientation::Ignore).unwrap_err();
    assert!(matches!(missing, ImageError::Io { .. }), "{missing}");
    std::fs::write(folder.join("large.png"), png(4, 4)).unwrap();
    let limits = ImageLimits { max_file_bytes: 10, ..ImageLimits::default() };
    let large = decode_file(&folder.join("large.png"), limits, ExifOrientation::Ignore).unwrap_err();
    assert!(matches!(large, ImageError::FileTooLarge { limit: 10, .. }), "{large}");
}

#[test]
fn pickles_that_run_code_do_nothing() {
    let folder = scratch("pickles");
    let path = folder.join("refs(unc).p");
    std::fs::write(&path, hostile::malicious_pickle()).unwrap();
    let error = read_refs(&path).unwrap_err();
    assert!(error.to_string().contains("opcode GLOBAL (0x63) is refused"), "{error}");
    assert!(!Path::new("groundling-was-owned").exists());
    let error = resc::parse(&hostile::malicious_pickle(), &path, ListBox::Xywh, Vec::new()).unwrap_err();
    assert!(matches!(error, DatasetError::Pickle { .. }), "{error}");
    for bytes in [hostile::boasting_pickle(), hostile::nested_pickle(1_000_000), b"\x80\x02".to_vec(), Vec::new()] {
        let error = parse_refs(&bytes, &path).unwrap_err();
        assert!(matches!(error, DatasetError::Pickle { .. }), "{error}");
    }
    assert!(matches!(read_refs(&folder).unwrap_err(), DatasetError::IsFolder { .. }));
}

#[test]
fn broken_coco_files_name_the_place() {
    let parse = |text: &str| coco::parse(text.as_bytes(), Path::new("i.json"), Vec::new()).unwrap_err().to_string();
    let image = r#""images": [{"id": 1, "file_name": "a.jpg", "height": 4, "width": 4}]"#;
    let object = |fields: &str| format!(r#"{{{image}, "annotations": [{{"id": 7, {fields}}}]}}"#);
    for (text, message) in [
        ("{".to_owned(), "i.json:1:1: EOF"),
        ("[1, 2]".to_owned(), "i.json:1:"),
        (object(r#""image_id": 9, "bbox": [0, 0, 1, 1]"#), "annotation 7: there is no image with id 9"),
        (object(r#""image_id": 1, "bbox": [0, 0, -1, 1]"#), "annotation 7: box [0.0, 0.0, -1.0, 1.0]"),
        (object(r#""image_id": 1, "bbox": [0, 0, 1e999, 1]"#), "number out of range"),
        (object(r#""image_id": 1, "bbox": [0, 0, null, 1]"#), "invalid type: null"),
        (
            object(r#""image_id": 1, "bbox": [0,0,1,1], "segmentation": {"size": [4, 4], "counts": [1, 99]}"#),
            "annotation 7: run lengths add up to 100, expected 16",
        ),
        (
            object(r#""image_id": 1, "bbox": [0,0,1,1], "segmentation": {"size": [8, 4], "counts": [32]}"#),
            "annotation 7: size of the mask is [8, 4], expected the size of the image",
        ),
        (
            object(r#""image_id": 1, "bbox": [0,0,1,1], "segmentation": {"size": [4, 4], "counts": "\u007f"}"#),
            "has byte 0x7f at position 0",
        ),
        (
            format!(
                r#"{{{image}, "annotations": [{{"id": 7, "image_id": 1, "bbox": [0,0,1,1]}}, {{"id": 7, "image_id": 1, "bbox": [0,0,1,1]}}]}}"#
            ),
            "annotation id 7 stands twice",
        ),
        (
            r#"{"images": [{"id": 1, "file_name": "../../etc/passwd", "height": 4, "width": 4}]}"#.to_owned(),
            "a relative path without `..`",
        ),
        (
            r#"{"images": [{"id": 1, "file_name": "a.jpg", "height": 0, "width": 4}]}"#.to_owned(),
            "image 1: height, width is [0, 4], expected 1 to 16384 pixels a side",
        ),
        (
            // A mask of this size would take four gigabytes.
            r#"{"images": [{"id": 1, "file_name": "a.jpg", "height": 65535, "width": 65535}]}"#.to_owned(),
            "image 1: height, width is [65535, 65535], expected 1 to 16384 pixels a side and at most 100 million",
        ),
        (
            object(r#""image_id": 1, "bbox": [0,0,1,1], "segmentation": {"counts": [16]}"#),
            "expected [[x, y, ...], ...] or {\"size\": [h, w], \"counts\": list or text} as segmentation",
        ),
    ] {
        let found = parse(&text);
        assert!(found.contains(message), "{text}\n{found}");
    }
    let deep = hostile::nested_json(100_000);
    let error = coco::parse(&deep, Path::new("i.json"), Vec::new()).unwrap_err();
    assert!(matches!(error, DatasetError::Json { .. }), "{error}");
}

#[test]
fn broken_lines_name_the_line() {
    let parse = |text: &[u8]| jsonl::parse(text, Path::new("d.jsonl")).unwrap_err().to_string();
    let long = format!(r#"{{"image": "a.png", "phrase": "{}", "targets": []}}"#, "cup ".repeat(10_000));
    for (text, message) in [
        (&b"{\"image\": \"a.png\", \"phrase\": \"cup\", \"targets\": []}\n\xff\xfe"[..], "d.jsonl:2:"),
        (
            br#"{"image": "a.png", "phrase": "cup", "targets": [{"mask": {"size": [60000, 60000], "counts": [3600000000]}}]}"#,
            "line 1: size of the mask is [60000, 60000], expected 1 to 16384 pixels a side",
        ),
        (br#"{"image": "a.png", "phrase": " ", "targets": []}"#, "line 1: the phrase is empty"),
        (long.as_bytes(), "line 1: the phrase has 10000 words, expected at most 512"),
        (br#"{"image": "a.png", "phrase": "cup"}"#, "line 1: targets is missing"),
        (br#"{"image": "a.png", "phrase": "cup", "target": []}"#, "unknown field `target`"),
        (br#"{"image": "a.png", "phrase": "cup", "targets": [{}]}"#, "without box and without a mask"),
        (br#"{"image": "a.png", "phrase": "cup", "boxes": [[50, 50, 10, 10]]}"#, "read as [x0, y0, x1, y1]"),
        (br#"{"image": "a.png", "phrase": "cup", "boxes": [[0, 0, 1, NaN]]}"#, "d.jsonl:1:"),
        (br#"{"image": "", "phrase": "cup", "boxes": []}"#, "image is empty"),
        (br#"{"image": "a.png", "width": 5, "phrase": "cup", "boxes": []}"#, "both or neither"),
    ] {
        let found = parse(text);
        assert!(found.contains(message), "{:?}\n{found}", String::from_utf8_lossy(&text[..text.len().min(90)]));
    }
    // The message of the parser speaks of line 1, since it sees one line at a time.
    let second = parse(b"\n{\"image\": 5}");
    assert_eq!(second, "d.jsonl:2:11: invalid type: integer `5`, expected a string");
    let marked = b"\xef\xbb\xbf{\"image\": \"a.png\", \"phrase\": \"cup\", \"targets\": []}";
    assert_eq!(jsonl::parse(marked, Path::new("d.jsonl")).unwrap().samples.len(), 1);
    let twice = br#"{"id": "x", "image": "a.png", "phrase": "cup", "targets": []}"#;
    assert!(parse(&[&twice[..], b"\n", twice].concat()).contains("sample id x stands twice"));
}

#[test]
fn the_linter_survives_everything() {
    let folder = scratch("linter");
    assert!(matches!(check::check(&folder), Err(DatasetError::NothingFound { .. })));
    assert!(matches!(check::check(&folder.join("none")), Err(DatasetError::Io { .. })));
    std::fs::write(folder.join("broken.jsonl"), b"{").unwrap();
    std::fs::write(folder.join("mixed.jsonl"), concat!(
        r#"{"image": "gone.png", "width": 100, "height": 100, "split": "train", "phrase": "cup", "boxes": [[10, 10, 30, 150]]}"#, "\n",
        r#"{"image": "gone.png", "split": "test", "phrase": "Cup", "boxes": [[10, 10, 10, 40]]}"#, "\n",
        r#"{"image": "gone.png", "split": "test", "phrase": "cup ", "boxes": []}"#, "\n",
    )).unwrap();
    let report = check::check(&folder).unwrap();
    let codes: Vec<&str> = report.datasets.iter().flat_map(|d| &d.findings).map(|f| f.code).collect();
    for code in ["unreadable", "missing-image", "box-outside", "degenerate-box", "ambiguous-phrase", "split-overlap"] {
        assert!(codes.contains(&code), "{code} not in {codes:?}");
    }
    assert_eq!(report.worst(), Some(check::Severity::Error));
}

#[test]
fn swapped_box_formats_are_noticed() {
    let folder = scratch("formats");
    let line = |i: u32, numbers: [u32; 4]| {
        // The mask says where the object is: columns 60..80, rows 50..90 of 100 x 100.
        let mask = groundling_core::Rle::from_mask(&groundling_core::BinaryMask::from_fn(
            groundling_core::ImageSize::new(100, 100).unwrap(),
            |row, column| (50..90).contains(&row) && (60..80).contains(&column),
        ));
        format!(
            r#"{{"image": "{i}.png", "phrase": "cup", "targets": [{{"bbox": {numbers:?}, "mask": {{"size": [100, 100], "counts": "{}"}}}}]}}"#,
            mask.to_compressed().replace('\\', "\\\\")
        )
    };
    let good: Vec<String> = (0..6).map(|i| line(i, [60, 50, 80, 90])).collect();
    let swapped: Vec<String> = (0..6).map(|i| line(i, [60, 50, 80, 90])).collect();
    std::fs::write(folder.join("good.jsonl"), good.join("\n")).unwrap();
    let codes = |path: &Path| -> Vec<&'static str> {
        check::check(path).unwrap().datasets.iter().flat_map(|d| &d.findings).map(|f| f.code).collect()
    };
    assert!(!codes(&folder.join("good.jsonl")).contains(&"box-format"));
    // The same numbers in a COCO file, whose boxes are x, y, width, height.
    let objects: Vec<String> = (1..7)
        .map(|i| {
            format!(
                r#"{{"id": {i}, "image_id": 1, "category_id": 1, "bbox": [60, 50, 80, 90], "segmentation": [[60, 50, 80, 50, 80, 90, 60, 90]]}}"#
            )
        })
        .collect();
    assert_eq!(swapped.len(), objects.len());
    let coco = format!(
        r#"{{"images": [{{"id": 1, "file_name": "a.jpg", "height": 100, "width": 100}}], "annotations": [{}]}}"#,
        objects.join(",")
    );
    std::fs::write(folder.join("swapped.json"), coco).unwrap();
    assert!(codes(&folder.join("swapped.json")).contains(&"box-format"));
}

#[test]
fn the_corpus_of_the_fuzzers_panics_nowhere() {
    let root = fixtures().join("corpus");
    let mut replayed = 0;
    for target in groundling_data_fuzz_targets() {
        let folder = root.join(target.0);
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            target.1(&std::fs::read(entry.unwrap().path()).unwrap());
            replayed += 1;
        }
    }
    assert!(replayed >= 60, "only {replayed} files in {}", root.display());
}

type Target = (&'static str, fn(&[u8]));

/// What each fuzz target of `fuzz/` does with its bytes.
fn groundling_data_fuzz_targets() -> [Target; 7] {
    use groundling_data::fuzzing;
    [
        ("image", fuzzing::image),
        ("pickle", fuzzing::pickle),
        ("rle", fuzzing::rle),
        ("jsonl", fuzzing::jsonl),
        ("coco_json", fuzzing::coco_json),
        ("wordpiece", fuzzing::wordpiece),
        ("scene_phrase", fuzzing::scene_phrase),
    ]
}
