//! PNG files: whole or not at all.

use groundling_testkit::scratch;
use groundling_viz::{WriteError, encode_png, write_png};
use image::RgbImage;

use crate::pictures::ground;

#[test]
fn a_written_picture_reads_back_the_same() {
    let folder = scratch("viz-png");
    let path = folder.join("picture.png");
    for image in [ground(33, 21), ground(1, 1)] {
        write_png(&path, &image).unwrap();
        assert_eq!(image::open(&path).unwrap().to_rgb8(), image);
    }
    let names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["picture.png"], "no temporary file is left");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn failures_are_typed_and_leave_nothing() {
    let folder = scratch("viz-png-failures");
    let occupied = folder.join("folder.png");
    std::fs::create_dir(&occupied).unwrap();
    std::fs::write(occupied.join("inside"), b"keep").unwrap();
    let error = write_png(&occupied, &ground(3, 3)).unwrap_err();
    assert!(matches!(&error, WriteError::Io { path, .. } if *path == occupied), "{error}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "the temporary file is removed");
    let missing = folder.join("no").join("such.png");
    assert!(matches!(write_png(&missing, &ground(3, 3)), Err(WriteError::Io { action: "create the file", .. })));
    assert!(matches!(write_png("/".as_ref(), &ground(3, 3)), Err(WriteError::NoFileName { .. })));
    assert!(matches!(encode_png(&RgbImage::new(0, 0)), Err(WriteError::Encode { width: 0, height: 0, .. })));
    std::fs::remove_dir_all(folder).unwrap();
}
