//! Pictures of the generated world.

use groundling_core::{GroundTruth, Phrase, TrueTarget};

use super::{About, ExampleError, ExampleObject, ExampleOptions, ExamplePhrase, Picture};
use crate::scenes::{Scene, SceneExpression, SceneObject, Scenes, Shape, Split};

#[derive(Debug, Clone)]
pub(super) struct GeneratedExamples {
    scenes: Scenes,
    count: usize,
}

/// Names of the shapes, in the order of their category ids.
pub(super) fn classes() -> Vec<String> {
    sorted_shapes().iter().map(|shape| shape.name().to_owned()).collect()
}

fn sorted_shapes() -> Vec<Shape> {
    let mut shapes = Shape::ALL.to_vec();
    shapes.sort_by_key(|shape| shape.category_id());
    shapes
}

impl GeneratedExamples {
    pub(super) fn new(split: Split, count: u64, options: &ExampleOptions) -> Result<Self, ExampleError> {
        let scenes = Scenes::new(options.scenes.clone(), split, options.seed)?;
        // More scenes than can be counted are more than can be asked for.
        Ok(Self { scenes, count: usize::try_from(count).unwrap_or(usize::MAX) })
    }

    pub(super) fn split(&self) -> Split {
        self.scenes.split()
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn picture(&self, index: usize, options: &ExampleOptions) -> Picture {
        let scene = self.scenes.scene(index as u64);
        let shapes = sorted_shapes();
        let objects = scene.objects.iter().map(|object| self.object(object, &shapes, options)).collect();
        let wanted = |(number, expression): (usize, &SceneExpression)| phrase(&scene, number, expression, options);
        let phrases = scene.expressions.iter().enumerate().filter_map(wanted).collect();
        let file_name = format!("{}/{index:06}.png", self.scenes.split());
        Picture { about: About { file_name, size: scene.size, phrases, objects }, image: scene.image }
    }

    fn object(&self, object: &SceneObject, shapes: &[Shape], options: &ExampleOptions) -> ExampleObject {
        // Of the shapes that nothing of the object's colour has in this split.
        let unshown = |shape: &Shape| options.scenes.uncoupled && !self.scenes.split().allows(object.colour, *shape);
        let bit = |(class, shape): (usize, &Shape)| u64::from(unshown(shape)) << class;
        ExampleObject {
            bbox: object.bbox,
            area: Some(object.mask.area() as f64),
            mask: options.masks.then(|| object.mask.clone()),
            class: shapes.iter().position(|shape| *shape == object.shape),
            unshown_classes: shapes.iter().enumerate().map(bit).sum(),
            category_id: Some(object.shape.category_id()),
            is_crowd: false,
        }
    }
}

fn phrase(
    scene: &Scene,
    number: usize,
    expression: &SceneExpression,
    options: &ExampleOptions,
) -> Option<ExamplePhrase> {
    let truth = if options.masks { expression.truth(scene) } else { boxes(scene, expression) };
    if !options.targets.contains(truth.count()) {
        return None;
    }
    Some(ExamplePhrase {
        id: format!("{}-{number}", scene.id),
        order: number,
        // The grammar makes no phrase that is blank or too long.
        phrase: Phrase::parse(&expression.phrase).ok()?,
        truth,
        targets: expression.targets.clone(),
        named: Some(expression.named.clone()),
        kind: Some(expression.kind.name().to_owned()),
        group: None,
    })
}

fn boxes(scene: &Scene, expression: &SceneExpression) -> GroundTruth {
    let objects = expression.targets.iter().filter_map(|&index| scene.objects.get(index));
    let target = |object: &SceneObject| TrueTarget {
        bbox: object.bbox,
        mask: None,
        category_id: Some(object.shape.category_id()),
    };
    GroundTruth { targets: objects.map(target).collect(), merged_mask: None }
}
