//! Layouts that the generated world is not written in: Flickr30k Entities, ReSC lists; and orientation marks.

use std::io::Write;
use std::path::Path;

use groundling_data::image::decode::{ExifOrientation, ImageLimits, decode_bytes};
use groundling_data::readers::resc::{self, ListBox};
use groundling_data::write::pickle::Pickle;
use groundling_data::{DataSource, DatasetError};
use groundling_testkit::scratch;

fn flickr(name: &str) -> std::path::PathBuf {
    let root = scratch(name);
    for folder in ["Annotations", "Sentences"] {
        std::fs::create_dir(root.join(folder)).unwrap();
    }
    std::fs::write(root.join("val.txt"), "1000092795\n\n").unwrap();
    let object = |names: &[&str], inner: &str| {
        let names: String = names.iter().map(|name| format!("<name>{name}</name>")).collect();
        format!("<object>{names}{inner}</object>")
    };
    let bndbox = |[x0, y0, x1, y1]: [u32; 4]| {
        format!("<bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox>")
    };
    let xml = format!(
        "<annotation><filename>1000092795.jpg</filename><size><width>333</width><height>500</height><depth>3</depth></size>{}{}{}{}</annotation>",
        object(&["1"], &bndbox([10, 20, 110, 220])),
        object(&["1"], &bndbox([120, 20, 200, 210])),
        object(&["2", "3"], &bndbox([30, 30, 60, 70])),
        object(&["4"], "<scene>1</scene><nobndbox>1</nobndbox>"),
    );
    std::fs::write(root.join("Annotations/1000092795.xml"), xml).unwrap();
    let sentences = "[/EN#1/people Two young guys] with [/EN#2/bodyparts shaggy hair] in [/EN#4/scene the yard] .\n\
                     [/EN#3/bodyparts Hair] everywhere .\n";
    std::fs::write(root.join("Sentences/1000092795.txt"), sentences).unwrap();
    root
}

#[test]
fn flickr30k_entities() {
    let root = flickr("layout-flickr");
    let source = format!("flickr:{}:{}:val", root.display(), root.display());
    let dataset = source.parse::<DataSource>().unwrap().read().unwrap();
    let found: Vec<(&str, Vec<[f64; 4]>)> = dataset
        .samples
        .iter()
        .map(|sample| {
            let boxes = dataset.truth_boxes(sample).targets.iter().map(|t| t.bbox.to_array()).collect();
            (sample.phrase.as_str(), boxes)
        })
        .collect();
    let hair = [30.0, 30.0, 60.0, 70.0];
    let expected = [
        ("Two young guys", vec![[10.0, 20.0, 110.0, 220.0], [120.0, 20.0, 200.0, 210.0]]),
        ("shaggy hair", vec![hair]),
        ("Hair", vec![hair]),
    ];
    assert_eq!(found, expected, "the yard has no box and is left out");
    assert_eq!((dataset.images[0].file_name.as_str(), dataset.images.len()), ("1000092795.jpg", 1));
    let size = dataset.image_size(0).unwrap();
    assert_eq!((size.height(), size.width()), (500, 333));
}

#[test]
fn broken_flickr_trees_are_named() {
    let root = flickr("layout-flickr-broken");
    let read = |split: &str| {
        let source = format!("flickr:{}:{}:{split}", root.display(), root.display());
        source.parse::<DataSource>().unwrap().read().unwrap_err().to_string()
    };
    assert!(read("train").contains("there is no split \"train\"; this file has [\"val\"]"), "{}", read("train"));
    let xml = root.join("Annotations/1000092795.xml");
    std::fs::write(&xml, "<annotation><object><name>1</name>\n<bndbox><xmin>a</xmin></bndbox></object></annotation>")
        .unwrap();
    assert!(read("val").contains("1000092795.xml:2: <xmin> is \"a\", expected a number"), "{}", read("val"));
    // Entities that expand to gigabytes: document types are refused altogether.
    std::fs::write(&xml, "<!DOCTYPE a [<!ENTITY x \"xxxx\">]><annotation>&x;</annotation>").unwrap();
    assert!(read("val").contains("1000092795.xml:1:"), "{}", read("val"));
    std::fs::remove_file(&xml).unwrap();
    assert!(read("val").contains("1000092795.xml: "), "{}", read("val"));
}

fn entry(file: &str, numbers: [f64; 4], phrase: &str) -> Pickle {
    let text = |text: &str| Pickle::Str(text.to_owned());
    let numbers = Pickle::List(numbers.iter().map(|&n| Pickle::Int(n as i64)).collect());
    Pickle::List(vec![text(file), text("1.pth"), numbers, text(phrase), Pickle::List(Vec::new())])
}

fn pickled(value: &Pickle) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.write(&mut bytes).unwrap();
    bytes
}

fn archive(name: &str, content: &[u8]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    writer.start_file("archive/version", stored).unwrap();
    writer.write_all(b"3\n").unwrap();
    writer.start_file(name, stored).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap().into_inner()
}

#[test]
fn resc_lists_of_both_containers() {
    let list = Pickle::List(vec![
        entry("COCO_train2014_000000000154.jpg", [10.0, 20.0, 30.0, 40.0], "zebra at the bottom"),
        entry("COCO_train2014_000000000154.jpg", [1.0, 2.0, 3.0, 4.0], "the butt"),
    ]);
    let plain = pickled(&list);
    let stream = [
        &b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}q\x01."[..],
        &plain,
        b"\x80\x02]q\x01.",
    ]
    .concat();
    let zipped = archive("archive/data.pkl", &plain);
    for bytes in [&plain, &stream, &zipped] {
        let path = Path::new("unc_testB.pth");
        let dataset = resc::parse(bytes, path, ListBox::of_file(path), Vec::new()).unwrap();
        assert_eq!((dataset.images.len(), dataset.samples.len()), (1, 2));
        assert_eq!(dataset.annotations[0].bbox.to_array(), [10.0, 20.0, 30.0, 40.0]);
        assert_eq!((dataset.samples[1].phrase.as_str(), dataset.samples[1].split.as_str()), ("the butt", "testB"));
        // The same numbers are corners in the lists of ReferIt and Flickr.
        let path = Path::new("referit_val.pth");
        let dataset = resc::parse(bytes, path, ListBox::of_file(path), Vec::new()).unwrap();
        assert_eq!(dataset.annotations[0].bbox.to_xyxy().to_array(), [10.0, 20.0, 30.0, 40.0]);
    }
}

#[test]
fn broken_resc_lists_are_errors() {
    let parse = |bytes: &[u8]| resc::parse(bytes, Path::new("unc_val.pth"), ListBox::Xywh, Vec::new()).unwrap_err();
    let wrong = pickled(&Pickle::List(vec![Pickle::Int(3)]));
    assert!(parse(&wrong).to_string().contains("entry 0: entry is Int(3), expected (image file"), "{}", parse(&wrong));
    let negative = pickled(&Pickle::List(vec![entry("a.jpg", [0.0, 0.0, -5.0, 5.0], "cup")]));
    assert!(matches!(parse(&negative), DatasetError::BadBox { .. }));
    // One blank phrase of a published list does not make the rest unreadable.
    let empty = pickled(&Pickle::List(vec![entry("a.jpg", [0.0, 0.0, 5.0, 5.0], " ")]));
    let dataset = resc::parse(&empty, Path::new("unc_val.pth"), ListBox::Xywh, Vec::new()).unwrap();
    assert_eq!((dataset.samples.len(), dataset.skipped.len()), (0, 1));
    assert!(dataset.skipped[0].starts_with("entry 0: the phrase is empty"), "{:?}", dataset.skipped);
    let above = pickled(&Pickle::List(vec![entry("../../secret", [0.0, 0.0, 5.0, 5.0], "cup")]));
    assert!(parse(&above).to_string().contains("a relative path without `..`"), "{}", parse(&above));
    let other = archive("archive/readme", b"x");
    assert!(parse(&other).to_string().contains("data.pkl is missing"), "{}", parse(&other));
    let whole = archive("archive/data.pkl", &empty);
    for end in [4, 20, whole.len() / 2, whole.len() - 3] {
        assert!(matches!(parse(&whole[..end]), DatasetError::Field { .. }), "{end} bytes");
    }
}

#[test]
fn orientation_marks_are_followed_only_when_asked() {
    let picture =
        image::RgbImage::from_fn(24, 8, |x, _| image::Rgb(if x < 12 { [250, 10, 10] } else { [10, 10, 250] }));
    let mut jpeg = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut jpeg, image::ImageFormat::Jpeg).unwrap();
    let jpeg = jpeg.into_inner();
    // TIFF with one entry: orientation (0x0112), short, 6 = turn clockwise by 90 degrees to look right.
    let tiff = b"II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00";
    let exif = [&b"Exif\x00\x00"[..], tiff].concat();
    let marked = [&jpeg[..2], b"\xff\xe1", &(exif.len() as u16 + 2).to_be_bytes(), &exif, &jpeg[2..]].concat();
    let decode = |policy| decode_bytes(&marked, ImageLimits::default(), policy).unwrap();
    assert_eq!(decode(ExifOrientation::Ignore).dimensions(), (24, 8));
    let turned = decode(ExifOrientation::Apply);
    assert_eq!(turned.dimensions(), (8, 24));
    let [top, bottom] = [turned.get_pixel(4, 2).0, turned.get_pixel(4, 21).0];
    assert!(top[0] > 200 && top[2] < 60 && bottom[2] > 200 && bottom[0] < 60, "{top:?} {bottom:?}");
}
