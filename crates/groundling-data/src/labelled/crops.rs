//! Objects cut out of generated scenes: hundreds of fine classes without a file.
//!
//! A class is a [`Look`]: shape, colour and fill. Every scene gives one picture for each of its objects, cut out as a square with a margin;
//! neighbours may reach into it, and what lies over the object hides a part of it.

use groundling_core::{BoxXyxy, Pixels};
use image::RgbImage;

use super::ClassPicture;
use crate::scenes::{Colour, Fill, Scene, Scenes, Shape};

/// Side of a crop over the longer side of what is seen of the object.
pub const CROP_MARGIN: f64 = 1.3;

/// What an object looks like, its size and place aside: a class of the crops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Look {
    /// Its shape.
    pub shape: Shape,
    /// Its colour.
    pub colour: Colour,
    /// How it is painted.
    pub fill: Fill,
}

impl Look {
    /// Every look that the world can make, in the order of the classes: by shape, within one by colour, within one by fill, each in the order
    /// of its `ALL`. 540 of them; those of a held-out pair of colour and shape are seen in the test split only.
    pub fn all() -> impl Iterator<Item = Look> {
        let fills = |shape: Shape, colour: Colour| {
            Fill::ALL.into_iter().filter(move |&fill| shape.allows(fill)).map(move |fill| Look { shape, colour, fill })
        };
        Shape::ALL
            .into_iter()
            .flat_map(move |shape| Colour::ALL.into_iter().flat_map(move |colour| fills(shape, colour)))
    }

    /// `red striped star`.
    pub fn name(self) -> String {
        format!("{} {} {}", self.colour.name(), self.fill.name(), self.shape.name())
    }

    /// Its class, from 0; `None` for a look that the world does not make.
    pub fn class(self) -> Option<usize> {
        Self::all().position(|look| look == self)
    }
}

/// The objects of generated scenes, each cut out.
#[derive(Debug, Clone)]
pub struct SceneCrops {
    scenes: Scenes,
    count: usize,
}

impl SceneCrops {
    /// Of the first `count` scenes.
    pub fn new(scenes: Scenes, count: usize) -> Self {
        Self { scenes, count }
    }

    /// Scenes.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no scene.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The objects of a scene, bottom to top, named `train/000012-3`.
    pub fn pictures(&self, index: usize) -> Vec<ClassPicture> {
        let scene = self.scenes.scene(index as u64);
        let picture = |(number, object): (usize, &crate::scenes::SceneObject)| {
            let look = Look { shape: object.shape, colour: object.colour, fill: object.fill };
            ClassPicture {
                name: format!("{}/{index:06}-{number}", self.scenes.split()),
                image: crop(&scene, object.bbox),
                class: look.class().expect("objects are of looks that the world makes"),
            }
        };
        scene.objects.iter().enumerate().map(picture).collect()
    }
}

/// A square around a box, as large as the picture allows, and moved into it at its edges.
fn crop(scene: &Scene, bbox: BoxXyxy<Pixels>) -> RgbImage {
    let (width, height) = scene.image.dimensions();
    let wanted = (bbox.width().max(bbox.height()) * CROP_MARGIN).round().max(1.0) as u32;
    let side = wanted.min(width).min(height);
    let (cx, cy) = bbox.centre();
    let start =
        |centre: f64, length: u32| (centre - f64::from(side) / 2.0).round().clamp(0.0, f64::from(length - side)) as u32;
    image::imageops::crop_imm(&scene.image, start(cx, width), start(cy, height), side, side).to_image()
}
