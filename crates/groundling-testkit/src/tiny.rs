//! A tiny world for tests that need a data set or a model input in microseconds: coloured rectangles on grey.

use std::path::Path;

use serde_json::json;

use crate::fill;

/// One rectangle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TinyObject {
    /// Its colour, by name; no two objects of a world share one.
    pub colour: &'static str,
    /// Left, top, right, bottom in pixels.
    pub bbox: [u32; 4],
}

/// A picture of rectangles that do not overlap, with one phrase for each and one for something that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TinyWorld {
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// RGB, row by row.
    pub pixels: Vec<u8>,
    /// The rectangles.
    pub objects: Vec<TinyObject>,
    /// A phrase, and the index of the object it means, if any.
    pub phrases: Vec<(String, Option<usize>)>,
}

const COLOURS: [(&str, [u8; 3]); 5] = [
    ("red", [220, 30, 30]),
    ("green", [30, 170, 60]),
    ("blue", [40, 70, 220]),
    ("yellow", [240, 220, 40]),
    ("black", [10, 10, 10]),
];

impl TinyWorld {
    /// The world of a seed: one to four rectangles side by side in a picture of `height` x `width`, each side at least 16.
    ///
    /// # Panics
    /// If a side is below 16.
    pub fn new(height: u32, width: u32, seed: u64) -> Self {
        assert!(height >= 16 && width >= 16, "a tiny world needs 16 pixels a side");
        let mut random = fill::unit("tiny world", seed);
        let mut below = |n: u32| (random.next().unwrap_or(0.0) * f64::from(n)) as u32;
        let count = 1 + below(4);
        let first_colour = below(COLOURS.len() as u32) as usize;
        let column = width / count;
        let mut pixels = vec![128; (height * width * 3) as usize];
        let mut objects = Vec::new();
        for index in 0..count {
            let (colour, rgb) = COLOURS[(first_colour + index as usize) % COLOURS.len()];
            let left = index * column + below(column / 4);
            let right = left + 2 + below(column / 2);
            let top = below(height / 3);
            let bottom = top + 2 + below(height / 2);
            for row in top..bottom {
                for x in left..right {
                    let place = ((row * width + x) * 3) as usize;
                    pixels[place..place + 3].copy_from_slice(&rgb);
                }
            }
            objects.push(TinyObject { colour, bbox: [left, top, right, bottom] });
        }
        let phrase = |(index, object): (usize, &TinyObject)| (format!("the {} block", object.colour), Some(index));
        let mut phrases: Vec<_> = objects.iter().enumerate().map(phrase).collect();
        let absent = COLOURS[(first_colour + count as usize) % COLOURS.len()].0;
        phrases.push((format!("the {absent} block"), None));
        Self { height, width, pixels, objects, phrases }
    }

    /// The picture as a BMP file.
    pub fn to_bmp(&self) -> Vec<u8> {
        let stride = (self.width * 3).div_ceil(4) * 4;
        let mut file = b"BM".to_vec();
        file.extend((54 + stride * self.height).to_le_bytes());
        file.extend([0; 4]);
        file.extend(54u32.to_le_bytes());
        file.extend(40u32.to_le_bytes());
        file.extend(self.width.to_le_bytes());
        file.extend((-(self.height as i32)).to_le_bytes());
        file.extend([1, 0, 24, 0]);
        file.extend([0; 24]);
        for row in self.pixels.chunks_exact((self.width * 3) as usize) {
            let bgr = row.chunks_exact(3).flat_map(|rgb| [rgb[2], rgb[1], rgb[0]]);
            file.extend(bgr);
            file.extend(std::iter::repeat_n(0, (stride - self.width * 3) as usize));
        }
        file
    }
}

/// Writes `count` worlds as a JSON-lines data set, `data.jsonl` beside its pictures.
///
/// # Panics
/// If the folder is not writable.
pub fn write_jsonl(folder: &Path, count: u64) {
    let mut lines = String::new();
    for seed in 0..count {
        let world = TinyWorld::new(24, 40, seed);
        let image = format!("{seed}.bmp");
        std::fs::write(folder.join(&image), world.to_bmp()).expect("the folder is writable");
        for (phrase, target) in &world.phrases {
            let boxes: Vec<_> = target.iter().map(|&index| world.objects[index].bbox).collect();
            let line = json!({"image": image, "width": 40, "height": 24, "phrase": phrase, "boxes": boxes});
            lines.push_str(&format!("{line}\n"));
        }
    }
    std::fs::write(folder.join("data.jsonl"), lines).expect("the folder is writable");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_stay_apart_and_inside() {
        for seed in 0..200 {
            let world = TinyWorld::new(16 + seed as u32 % 9, 16 + seed as u32 % 13, seed);
            let mut right = 0;
            for object in &world.objects {
                let [x0, y0, x1, y1] = object.bbox;
                assert!(x0 >= right && x0 < x1 && x1 <= world.width && y0 < y1 && y1 <= world.height, "{object:?}");
                right = x1;
            }
            assert_eq!(world.phrases.len(), world.objects.len() + 1);
        }
    }
}
