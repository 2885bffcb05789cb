//! Pictures with one class each.

use std::path::{Path, PathBuf};

use groundling_data::DatasetError;
use groundling_data::image::decode::ImageLimits;
use groundling_data::labelled::{ClassExamples, LabelledImages, Look, MatError, MatValue, read_mat};
use groundling_data::scenes::{Colour, Fill, SceneConfig, Shape, is_held_out};
use groundling_testkit::{fixtures, scratch};

fn picture(path: PathBuf, shade: u8) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    // The ending says JPEG; what is inside decides.
    let image = image::RgbImage::from_pixel(5, 4, image::Rgb([shade; 3]));
    image.save_with_format(path, image::ImageFormat::Png).unwrap();
}

fn kit(root: &Path, truth: &str) {
    let folder = root.join("ILSVRC2012_devkit_t12/data");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(fixtures().join("imagenet-kit/meta.mat"), folder.join("meta.mat")).unwrap();
    std::fs::write(folder.join("ILSVRC2012_validation_ground_truth.txt"), truth).unwrap();
}

#[test]
fn folders_are_classes_in_the_order_of_their_names() {
    let root = scratch("labelled-folders");
    for (class, name, shade) in
        [("zebra", "1.png", 9), ("ant", "b.jpg", 1), ("ant", "deep/a.JPEG", 2), ("bee", "x.webp", 3)]
    {
        picture(root.join(class).join(name), shade);
    }
    std::fs::write(root.join("ant/notes.txt"), "no picture").unwrap();
    std::fs::write(root.join("bee/broken.jpg"), "no picture either").unwrap();
    std::fs::write(root.join("readme.md"), "beside the classes").unwrap();
    std::fs::create_dir_all(root.join(".cache")).unwrap();
    std::fs::create_dir_all(root.join("empty")).unwrap();
    let found = LabelledImages::open_folders(&root).unwrap();
    let keys: Vec<&str> = found.classes.iter().map(|class| class.key.as_str()).collect();
    assert_eq!(keys, ["ant", "bee", "empty", "zebra"]);
    let images: Vec<(String, usize)> = found
        .images
        .iter()
        .map(|image| (image.path.strip_prefix(&root).unwrap().display().to_string(), image.class))
        .collect();
    let expected =
        [("ant/b.jpg", 0), ("ant/deep/a.JPEG", 0), ("bee/broken.jpg", 1), ("bee/x.webp", 1), ("zebra/1.png", 3)];
    assert_eq!(images, expected.map(|(path, class)| (path.to_owned(), class)));
    assert_eq!(found.ignored, [root.join("ant/notes.txt")]);
    // One bad picture is its own error.
    let read: Vec<bool> = found.images.iter().map(|image| image.read(ImageLimits::default()).is_ok()).collect();
    assert_eq!(read, [true, true, false, true, true]);
    assert_eq!(found.images[4].read(ImageLimits::default()).unwrap().get_pixel(0, 0).0, [9; 3]);
}

#[test]
fn a_folder_without_classes_says_what_would_be_one() {
    let root = scratch("labelled-none");
    picture(root.join("1.png"), 1);
    let error = LabelledImages::open_folders(&root).unwrap_err();
    assert!(
        matches!(&error, DatasetError::NothingFound { .. }) && error.to_string().contains("ROOT/cat/1.jpg"),
        "{error}"
    );
    assert!(matches!(LabelledImages::open_folders(&root.join("no")).unwrap_err(), DatasetError::Io { .. }));
}

#[test]
fn the_development_kit_says_the_classes() {
    let root = scratch("labelled-kit");
    kit(&root, "3\n1\n2\n");
    for number in [2, 1, 3] {
        picture(root.join(format!("ILSVRC2012_img_val/ILSVRC2012_val_{number:08}.JPEG")), number);
    }
    std::fs::write(root.join("ILSVRC2012_img_val/list.txt"), "").unwrap();
    let found = LabelledImages::open_imagenet(&root, "val").unwrap();
    let classes: Vec<(&str, &str)> =
        found.classes.iter().map(|class| (class.key.as_str(), class.words.as_deref().unwrap())).collect();
    // In the order of their names, not of their numbers in the kit; without the one that has children.
    let expected =
        [("n01440764", "tench, Tinca tinca"), ("n02119789", "kit fox, Vulpes macrotis"), ("n04557648", "water bottle")];
    assert_eq!(classes, expected);
    assert_eq!(found.images.iter().map(|image| image.class).collect::<Vec<_>>(), [2, 1, 0]);
    assert_eq!(found.ignored.len(), 1);

    // Training pictures lie in folders; the kit gives the words.
    picture(root.join("train/n02119789/n02119789_1.JPEG"), 7);
    let found = LabelledImages::open_imagenet(&root, "train").unwrap();
    assert_eq!(found.classes.len(), 1);
    assert_eq!(found.classes[0].words.as_deref(), Some("kit fox, Vulpes macrotis"));
}

#[test]
fn mistakes_of_an_imagenet_folder_are_named() {
    let root = scratch("labelled-bad");
    let error = |root: &Path, split: &str| LabelledImages::open_imagenet(root, split).unwrap_err().to_string();
    assert!(error(&root, "test").contains("there is no split \"test\""), "{}", error(&root, "test"));
    assert!(error(&root, "val").contains("ILSVRC2012_img_val"), "{}", error(&root, "val"));
    picture(root.join("val/ILSVRC2012_val_00000009.JPEG"), 1);
    assert!(error(&root, "val").contains("ILSVRC2012_devkit_t12"), "{}", error(&root, "val"));
    kit(&root, "3\nfour\n");
    assert!(error(&root, "val").contains("line 2: class is four"), "{}", error(&root, "val"));
    // A class with children is none.
    kit(&root, "4\n");
    assert!(error(&root, "val").contains("line 1: class is 4"), "{}", error(&root, "val"));
    kit(&root, "3\n");
    let message = error(&root, "val");
    assert!(message.contains("number is 9") && message.contains("has 1 lines"), "{message}");
    std::fs::write(root.join("ILSVRC2012_devkit_t12/data/meta.mat"), b"MATLAB 7.3").unwrap();
    assert!(error(&root, "val").contains("version 5"), "{}", error(&root, "val"));
}

#[test]
fn matlab_files_are_read_compressed_or_not() {
    for name in ["meta.mat", "meta_plain.mat"] {
        let bytes = std::fs::read(fixtures().join("imagenet-kit").join(name)).unwrap();
        let variables = read_mat(&bytes).unwrap();
        assert_eq!(variables["matrix"], MatValue::Numbers(vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0]), "columns first");
        let MatValue::Cells(cells) = &variables["cells"] else { panic!("{:?}", variables["cells"]) };
        assert_eq!(*cells, [MatValue::Numbers(vec![1.0]), MatValue::Text("two".into())]);
        let MatValue::Structs(rows) = &variables["synsets"] else { panic!("{:?}", variables["synsets"]) };
        assert_eq!(rows.len(), 4);
        assert_eq!(rows[3]["children"], MatValue::Numbers(vec![1.0, 2.0]));
        assert_eq!(rows[1]["gloss"], MatValue::Text("freshwater dace-like game fish".into()));
        // Cut anywhere and changed anywhere it is an error or another value, never a panic.
        for end in 0..bytes.len() {
            drop(read_mat(&bytes[..end]));
        }
        let mut changed = bytes.clone();
        for at in 0..bytes.len() {
            for value in [0, 1, 15, 0x7f, 0xff] {
                changed[at] = value;
                drop(read_mat(&changed));
            }
            changed[at] = bytes[at];
        }
    }
    assert!(matches!(read_mat(b"MATLAB"), Err(MatError::Header(_))));
    let mut bytes = std::fs::read(fixtures().join("imagenet-kit/meta_plain.mat")).unwrap();
    bytes[126..128].copy_from_slice(b"MI");
    assert!(read_mat(&bytes).unwrap_err().to_string().contains("high byte"));
}

#[test]
fn looks_are_hundreds_of_classes_in_a_fixed_order() {
    let looks: Vec<Look> = Look::all().collect();
    assert_eq!(looks.len(), 14 * 10 * 4 - 2 * 10, "circles and rings are never outlined");
    assert_eq!(looks[0].name(), "red solid circle");
    assert_eq!(looks[3].name(), "orange solid circle", "three fills of a circle, then the next colour");
    assert_eq!(looks[539].name(), "black outlined semicircle");
    assert!(looks.iter().enumerate().all(|(class, look)| look.class() == Some(class)));
    let names: std::collections::BTreeSet<String> = looks.iter().map(|look| look.name()).collect();
    assert_eq!(names.len(), 540);
    let never = Look { shape: Shape::Ring, colour: Colour::Red, fill: Fill::Outlined };
    assert_eq!(never.class(), None);
}

#[test]
fn crops_show_their_object() {
    let open = |source: &str| ClassExamples::open(&source.parse().unwrap(), 7, &SceneConfig::default()).unwrap();
    let examples = open("scenes:train:5");
    assert_eq!((examples.len(), examples.is_generated()), (5, true));
    let looks: Vec<Look> = Look::all().collect();
    let mut seen = 0;
    for index in 0..5 {
        let pictures = examples.pictures(index).unwrap();
        assert_eq!(pictures, examples.pictures(index).unwrap(), "the same at every call");
        assert!(pictures.len() >= 3);
        for (number, picture) in pictures.iter().enumerate() {
            assert_eq!(picture.name, format!("train/{index:06}-{number}"));
            let (width, height) = picture.image.dimensions();
            assert!(width == height && (16..=256).contains(&width), "{width} x {height}");
            let look = looks[picture.class];
            assert!(!is_held_out(look.colour, look.shape), "{}", look.name());
            // Objects differ from the middle of their colour by up to 9 steps, and the bands of outlines and stripes show it too.
            let near = |pixel: &image::Rgb<u8>| {
                pixel.0.iter().zip(look.colour.rgb()).all(|(&found, middle)| found.abs_diff(middle) <= 14)
            };
            let share = picture.image.pixels().filter(|pixel| near(pixel)).count() as f64 / f64::from(width * height);
            assert!(share > 0.02, "{}: {share} of {}", picture.name, look.name());
            seen += 1;
        }
    }
    assert!(seen > 15, "{seen}");
    assert!(open("scenes:val:5").pictures(0).unwrap() != examples.pictures(0).unwrap());
    let held_out = |index| {
        open("scenes:test:5").pictures(index).unwrap().iter().any(|picture| {
            let look = looks[picture.class];
            is_held_out(look.colour, look.shape)
        })
    };
    assert!((0..5).any(held_out), "the test split shows what training never does");
}

#[test]
fn one_view_of_files_and_scenes() {
    let root = scratch("labelled-view");
    picture(root.join("ant/1.png"), 9);
    picture(root.join("bee/2.png"), 5);
    std::fs::write(root.join("bee/3.jpg"), "no picture").unwrap();
    let open = |source: String| ClassExamples::open(&source.parse().unwrap(), 7, &SceneConfig::default());
    let examples = open(format!("folders:{}", root.display())).unwrap();
    assert_eq!((examples.classes(), examples.len()), (&["ant".to_owned(), "bee".to_owned()][..], 3));
    let second = examples.pictures(1).unwrap();
    assert_eq!((second.len(), second[0].class, second[0].image.get_pixel(0, 0).0), (1, 1, [5; 3]));
    assert!(examples.pictures(2).unwrap_err().to_string().contains("3.jpg"), "the broken file is named");
    assert!(examples.pictures(3).unwrap_err().to_string().contains("picture 3 of 3"));
    let boxes = open("coco:images:instances.json".to_owned()).unwrap_err().to_string();
    assert!(boxes.contains("expected folders:FOLDER"), "{boxes}");
    let classes = format!("folders:{}", root.display()).parse::<groundling_data::DataSource>().unwrap().read();
    assert!(classes.unwrap_err().to_string().contains("neither boxes nor phrases"));
}
