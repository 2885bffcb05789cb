//! The classes of COCO, which published weights tell apart.

/// Names in the order of COCO's category ids, which have gaps and are not stored in weights.
pub const COCO_CLASSES: [&str; 80] = [
    "person",
    "bicycle",
    "car",
    "motorcycle",
    "airplane",
    "bus",
    "train",
    "truck",
    "boat",
    "traffic light",
    "fire hydrant",
    "stop sign",
    "parking meter",
    "bench",
    "bird",
    "cat",
    "dog",
    "horse",
    "sheep",
    "cow",
    "elephant",
    "bear",
    "zebra",
    "giraffe",
    "backpack",
    "umbrella",
    "handbag",
    "tie",
    "suitcase",
    "frisbee",
    "skis",
    "snowboard",
    "sports ball",
    "kite",
    "baseball bat",
    "baseball glove",
    "skateboard",
    "surfboard",
    "tennis racket",
    "bottle",
    "wine glass",
    "cup",
    "fork",
    "knife",
    "spoon",
    "bowl",
    "banana",
    "apple",
    "sandwich",
    "orange",
    "broccoli",
    "carrot",
    "hot dog",
    "pizza",
    "donut",
    "cake",
    "chair",
    "couch",
    "potted plant",
    "bed",
    "dining table",
    "toilet",
    "tv",
    "laptop",
    "mouse",
    "remote",
    "keyboard",
    "cell phone",
    "microwave",
    "oven",
    "toaster",
    "sink",
    "refrigerator",
    "book",
    "clock",
    "vase",
    "scissors",
    "teddy bear",
    "hair drier",
    "toothbrush",
];

/// COCO's ids of [`COCO_CLASSES`]: the numbers up to 90 but for these.
const UNUSED_IDS: [i64; 10] = [12, 26, 29, 30, 45, 66, 68, 69, 71, 83];

/// COCO's category ids of classes; `None` if they are others than COCO's.
pub fn coco_category_ids(classes: &[String]) -> Option<Vec<i64>> {
    (classes == COCO_CLASSES).then(|| (1..=90).filter(|id| !UNUSED_IDS.contains(id)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_gaps() {
        let classes = COCO_CLASSES.map(str::to_owned);
        let ids = coco_category_ids(&classes).unwrap();
        let id = |name: &str| ids[classes.iter().position(|class| class == name).unwrap()];
        assert_eq!((ids.len(), id("person"), id("stop sign"), id("dog"), id("toothbrush")), (80, 1, 13, 18, 90));
        assert_eq!(coco_category_ids(&classes[..79]), None);
    }
}
