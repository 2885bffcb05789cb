//! A linter for data sets: what would hurt training or evaluation, found before either starts.
//!
//! [`check`] finds every data set at or below a path, reads it with the ordinary reader and looks for missing images, wrong sizes, boxes
//! outside or degenerate, numbers in the wrong box format, damaged outlines, ambiguous phrases and images shared by training and test.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use groundling_core::{BoxXyxy, ImageSize, Pixels, TargetCount};
use rayon::prelude::*;
use serde::Serialize;

use crate::dataset::{Annotation, Dataset, DatasetError, MaskRule, Shape, is_drawable};
use crate::image::decode::{ImageLimits, size_of_file};
use crate::readers::refer::{Flavour, ReferFiles, split_files};
use crate::readers::resc::ListBox;
use crate::readers::{coco, jsonl, resc};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Note,
    /// Probably wrong.
    Warning,
    /// Wrong: training or evaluation would fail or lie.
    Error,
}

/// One kind of problem in one data set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Short stable name: `missing-image`.
    pub code: &'static str,
    /// What it means.
    pub message: String,
    /// How often it occurs.
    pub count: usize,
    /// The first few places.
    pub examples: Vec<String>,
}

/// Numbers of one split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct SplitCounts {
    /// Images with an expression.
    pub images: usize,
    /// Groups of expressions of one target (`ref_id`).
    pub refs: usize,
    /// Expressions.
    pub expressions: usize,
    /// Of these, without target.
    pub zero: usize,
    /// With one target.
    pub one: usize,
    /// With several.
    pub many: usize,
}

/// What was found out about one data set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatasetReport {
    /// Its name.
    pub name: String,
    /// The file it was read from.
    pub path: PathBuf,
    /// Images in all.
    pub images: usize,
    /// Annotations in all.
    pub annotations: usize,
    /// Of these, crowds.
    pub crowds: usize,
    /// Categories that an annotation uses.
    pub categories_used: usize,
    /// Numbers by split.
    pub splits: BTreeMap<String, SplitCounts>,
    /// What is wrong, worst first.
    pub findings: Vec<Finding>,
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckReport {
    /// Form of this record.
    pub schema: &'static str,
    /// What was checked.
    pub path: PathBuf,
    /// The data sets found.
    pub datasets: Vec<DatasetReport>,
}

impl CheckReport {
    /// The worst finding; `None` if nothing was found at all.
    pub fn worst(&self) -> Option<Severity> {
        self.datasets.iter().flat_map(|dataset| &dataset.findings).map(|finding| finding.severity).max()
    }
}

const MAX_EXAMPLES: usize = 5;

/// Checks every data set at or below `path`: a `.jsonl`, `.json` or `.pth` file, or a folder in one of the layouts.
///
/// # Errors
/// If the path cannot be read or holds nothing we know. Faults *inside* a data set are findings, not errors.
pub fn check(path: &Path) -> Result<CheckReport, DatasetError> {
    let candidates = candidates(path)?;
    if candidates.is_empty() {
        return Err(DatasetError::NothingFound {
            path: path.to_owned(),
            expected: "expected a .jsonl file, a COCO .json, a ReSC .pth list, a folder with instances.json and refs(..).p, \
                 or one with annotations/instances_*.json",
        });
    }
    // One at a time: a folder of several sets is larger than the memory of most machines.
    let datasets = candidates.into_iter().map(|(file, load)| report(file, load())).collect();
    Ok(CheckReport { schema: "groundling.check/1", path: path.to_owned(), datasets })
}

/// A file, and how to read the data set that it stands for.
type Candidate = (PathBuf, Box<dyn FnOnce() -> Result<Dataset, DatasetError>>);

fn candidates(path: &Path) -> Result<Vec<Candidate>, DatasetError> {
    let io = |source| DatasetError::Io { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(io)?.is_dir() {
        return Ok(file_candidate(path).into_iter().collect());
    }
    let mut found = Vec::new();
    folder_candidates(path, 3, &mut found);
    Ok(found)
}

fn file_candidate(path: &Path) -> Option<Candidate> {
    let file = path.to_owned();
    let load: Box<dyn FnOnce() -> Result<Dataset, DatasetError>> = match path.extension()?.to_str()? {
        "jsonl" => Box::new(move || jsonl::read(&file)),
        "pth" => Box::new(move || {
            resc::read(&file, ListBox::of_file(&file), vec![file.parent().unwrap_or(&file).to_owned()])
        }),
        "json" => Box::new(move || coco::read(&file, coco_image_folders(&file))),
        _ => return None,
    };
    Some((path.to_owned(), load))
}

fn coco_image_folders(annotations: &Path) -> Vec<PathBuf> {
    let stem = annotations.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let split = stem.strip_prefix("instances_").unwrap_or(&stem).to_owned();
    let parent = annotations.parent().unwrap_or(annotations);
    let root = parent.parent().unwrap_or(parent);
    let places = [root.join(&split), root.join("images").join(&split), root.join("images"), parent.join(&split)];
    let mut folders: Vec<PathBuf> = places.into_iter().chain([parent.to_owned()]).collect();
    folders.retain(|folder| folder.is_dir());
    folders
}

fn folder_candidates(folder: &Path, levels: u32, found: &mut Vec<Candidate>) {
    for (stem, by) in split_files(folder) {
        // JSON copies of a pickle are the same data set; `find` prefers the pickle.
        let flavour = match stem {
            "grefs" => Flavour::GRefCoco,
            _ if by == "final" => Flavour::RefZom,
            _ => Flavour::Refer,
        };
        let files = ReferFiles::find(folder, &by, flavour);
        let path = files.as_ref().map_or(folder.to_owned(), |files| files.refs.clone());
        found.push((path, Box::new(move || files.and_then(|files| files.read()))));
    }
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    let is_annotations = folder.file_name().is_some_and(|name| name == "annotations");
    for entry in entries {
        let name = entry.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let listed =
            name.ends_with(".jsonl") || (is_annotations && name.starts_with("instances_") && name.ends_with(".json"));
        if entry.is_dir() && levels > 0 {
            folder_candidates(&entry, levels - 1, found);
        } else if listed {
            found.extend(file_candidate(&entry));
        }
    }
}

fn report(path: PathBuf, loaded: Result<Dataset, DatasetError>) -> DatasetReport {
    let dataset = match loaded {
        Ok(dataset) => dataset,
        Err(error) => {
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            let message = "the data set cannot be read".to_owned();
            let examples = vec![error.to_string()];
            let findings = vec![Finding { severity: Severity::Error, code: "unreadable", message, count: 1, examples }];
            let (images, annotations, crowds, categories_used) = (0, 0, 0, 0);
            let splits = BTreeMap::new();
            return DatasetReport { name, path, images, annotations, crowds, categories_used, splits, findings };
        }
    };
    let mut findings = lint(&dataset);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    DatasetReport {
        name: dataset.name.clone(),
        path,
        images: dataset.images.len(),
        annotations: dataset.annotations.len(),
        crowds: dataset.annotations.iter().filter(|annotation| annotation.is_crowd).count(),
        categories_used: dataset.annotations.iter().filter_map(|a| a.category_id).collect::<BTreeSet<_>>().len(),
        splits: split_counts(&dataset),
        findings,
    }
}

/// Numbers of every split.
pub fn split_counts(dataset: &Dataset) -> BTreeMap<String, SplitCounts> {
    let mut seen: BTreeMap<&str, (BTreeSet<usize>, BTreeSet<i64>, SplitCounts)> = BTreeMap::new();
    for sample in &dataset.samples {
        let (images, groups, counts) = seen.entry(&sample.split).or_default();
        images.insert(sample.image);
        groups.insert(sample.group);
        counts.expressions += 1;
        match dataset.target_count(sample) {
            TargetCount::Zero => counts.zero += 1,
            TargetCount::One => counts.one += 1,
            TargetCount::Many => counts.many += 1,
        }
    }
    let finish = |(images, groups, counts): (BTreeSet<usize>, BTreeSet<i64>, SplitCounts)| SplitCounts {
        images: images.len(),
        refs: groups.len(),
        ..counts
    };
    seen.into_iter().map(|(split, found)| (split.to_owned(), finish(found))).collect()
}

/// Collects places by kind of problem.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, severity: Severity, code: &'static str, message: &str, places: Vec<String>) {
        if places.is_empty() {
            return;
        }
        let count = places.len();
        let examples = places.into_iter().take(MAX_EXAMPLES).collect();
        self.0.push(Finding { severity, code, message: message.to_owned(), count, examples });
    }
}

/// Every finding about one data set that could be read.
pub fn lint(dataset: &Dataset) -> Vec<Finding> {
    let mut findings = Findings::default();
    let sizes = image_findings(dataset, &mut findings);
    box_findings(dataset, &sizes, &mut findings);
    shape_findings(dataset, &sizes, &mut findings);
    phrase_findings(dataset, &mut findings);
    split_findings(dataset, &mut findings);
    findings.0
}

fn image_findings(dataset: &Dataset, findings: &mut Findings) -> Vec<Option<ImageSize>> {
    enum Seen {
        Fine(ImageSize),
        Missing(String),
        Broken(String),
        Differs(String, ImageSize),
    }
    let look = |index: usize| {
        let record = &dataset.images[index];
        let path = match dataset.image_path(index) {
            Ok(path) => path,
            Err(_) => return Seen::Missing(record.file_name.clone()),
        };
        match (size_of_file(&path, ImageLimits::default()), record.size) {
            (Err(error), _) => Seen::Broken(error.to_string()),
            (Ok(found), Some(stated)) if found != stated => {
                Seen::Differs(format!("{}: file {found}, stated {stated}", record.file_name), stated)
            }
            (Ok(found), _) => Seen::Fine(found),
        }
    };
    let seen: Vec<Seen> = (0..dataset.images.len()).into_par_iter().map(look).collect();
    let (mut missing, mut broken, mut differs) = (Vec::new(), Vec::new(), Vec::new());
    let mut sizes = Vec::with_capacity(seen.len());
    for (index, seen) in seen.into_iter().enumerate() {
        sizes.push(match seen {
            Seen::Fine(size) => Some(size),
            Seen::Missing(name) => {
                missing.push(name);
                dataset.images[index].size
            }
            Seen::Broken(message) => {
                broken.push(message);
                dataset.images[index].size
            }
            Seen::Differs(message, stated) => {
                differs.push(message);
                Some(stated)
            }
        });
    }
    findings.add(Severity::Error, "missing-image", "image files are not where they should be", missing);
    findings.add(Severity::Error, "broken-image", "image files cannot be read", broken);
    findings.add(Severity::Error, "image-size", "files have another size than the data set states", differs);
    sizes
}

/// How far a box may stick out before it counts, in pixels: annotation tools round.
const BOX_TOLERANCE: f64 = 1.0;

fn box_findings(dataset: &Dataset, sizes: &[Option<ImageSize>], findings: &mut Findings) {
    let (mut outside, mut degenerate) = (Vec::new(), Vec::new());
    for annotation in &dataset.annotations {
        let bbox = annotation.bbox.to_xyxy();
        let place = || {
            let image = &dataset.images[annotation.image].file_name;
            format!("annotation {} of {image}: {:?} (x0, y0, x1, y1)", annotation.id, bbox.to_array())
        };
        if bbox.checked().is_err() {
            degenerate.push(place());
        } else if sizes[annotation.image].is_some_and(|size| sticks_out(bbox, size)) {
            outside.push(place());
        }
    }
    let suspicion = format_suspicion(dataset, sizes);
    findings.add(Severity::Error, "degenerate-box", "boxes have no area", degenerate);
    findings.add(Severity::Error, "box-outside", "boxes reach outside their image", outside);
    findings.add(
        Severity::Error,
        "box-format",
        "the boxes look like corner coordinates in a width-and-height field, or the reverse",
        suspicion.into_iter().collect(),
    );
}

fn sticks_out(bbox: BoxXyxy<Pixels>, size: ImageSize) -> bool {
    let (width, height) = (f64::from(size.width()), f64::from(size.height()));
    bbox.x0 < -BOX_TOLERANCE
        || bbox.y0 < -BOX_TOLERANCE
        || bbox.x1 > width + BOX_TOLERANCE
        || bbox.y1 > height + BOX_TOLERANCE
}

/// Reads all boxes the other way and sees whether that fits better: against the images, and against the outlines.
fn format_suspicion(dataset: &Dataset, sizes: &[Option<ImageSize>]) -> Option<String> {
    let (mut judged, mut out, mut fits_as_corners) = (0usize, 0usize, 0usize);
    let (mut outlined, mut better_as_corners, mut better_as_sides) = (0usize, 0usize, 0usize);
    for annotation in &dataset.annotations {
        let stated = annotation.bbox.to_xyxy();
        // The four numbers of an xywh field, were they corners; and of an xyxy field, were they corner and sides.
        let corners = BoxXyxy::from_array(annotation.bbox.to_array());
        let sides = groundling_core::BoxXywh::from_array(stated.to_array()).to_xyxy();
        if let Some(size) = sizes[annotation.image] {
            judged += 1;
            out += usize::from(sticks_out(stated, size));
            fits_as_corners += usize::from(corners.checked().is_ok() && !sticks_out(corners, size));
        }
        let Some(outline) = annotation.shape.bounds() else { continue };
        outlined += 1;
        let now = stated.iou(outline);
        better_as_corners += usize::from(now < 0.5 && corners.checked().is_ok() && corners.iou(outline) > 0.8);
        better_as_sides += usize::from(now < 0.5 && sides.iou(outline) > 0.8);
    }
    if outlined >= 4 && better_as_corners * 2 > outlined {
        return Some(format!("{better_as_corners} of {outlined} outlines fit if [x, y, width, height] were corners"));
    }
    if outlined >= 4 && better_as_sides * 2 > outlined {
        return Some(format!("{better_as_sides} of {outlined} outlines fit if the corners were [x, y, width, height]"));
    }
    if judged >= 4 && out * 5 > judged && fits_as_corners * 50 >= judged * 49 {
        return Some(format!("{out} of {judged} boxes leave their image; as corners {fits_as_corners} would fit"));
    }
    None
}

fn shape_findings(dataset: &Dataset, sizes: &[Option<ImageSize>], findings: &mut Findings) {
    enum Seen {
        Fine,
        Broken(String),
        Empty(String),
    }
    // Drawing is the long part of a check: 860 000 outlines in COCO.
    let look = |annotation: &Annotation| {
        let place = || format!("annotation {}", annotation.id);
        match &annotation.shape {
            Shape::None => Seen::Fine,
            Shape::Polygons(polygons) if !polygons.iter().all(|polygon| is_drawable(polygon)) => Seen::Broken(place()),
            shape => match sizes[annotation.image].map(|size| shape.mask(size, MaskRule::Union)) {
                Some(Err(error)) => Seen::Broken(format!("{}: {error}", place())),
                Some(Ok(Some(mask))) if mask.is_empty() => Seen::Empty(place()),
                _ => Seen::Fine,
            },
        }
    };
    let seen: Vec<Seen> = dataset.annotations.par_iter().map(look).collect();
    let (mut broken, mut empty) = (Vec::new(), Vec::new());
    for seen in seen {
        match seen {
            Seen::Fine => {}
            Seen::Broken(place) => broken.push(place),
            Seen::Empty(place) => empty.push(place),
        }
    }
    let is_apart = |annotation: &&Annotation| {
        let outline = annotation.shape.bounds();
        outline.is_some_and(|outline| outline.area() > 16.0 && annotation.bbox.to_xyxy().iou(outline) < 0.5)
    };
    let apart = dataset.annotations.iter().filter(is_apart).map(|a| format!("annotation {}", a.id)).collect();
    findings.add(Severity::Warning, "bad-outline", "polygons with too few or absurd numbers are left out", broken);
    findings.add(Severity::Warning, "empty-outline", "outlines cover no pixel", empty);
    findings.add(Severity::Warning, "outline-box", "box and outline share less than half their area", apart);
}

fn phrase_findings(dataset: &Dataset, findings: &mut Findings) {
    let mut ids = HashSet::with_capacity(dataset.samples.len());
    let twice = dataset.samples.iter().filter(|sample| !ids.insert(sample.id.as_str()));
    let twice = twice.map(|sample| format!("sample {}", sample.id)).collect();
    let message = "expressions share an id; predictions cannot be joined with their truths";
    findings.add(Severity::Error, "duplicate-id", message, twice);
    let message = "expressions are blank or too long and were left out";
    findings.add(Severity::Warning, "skipped-phrase", message, dataset.skipped.clone());
    let mut by_text: HashMap<(usize, &str, String), Vec<Vec<usize>>> = HashMap::new();
    let sorted = |targets: &[usize]| {
        let mut targets = targets.to_vec();
        targets.sort_unstable();
        targets
    };
    for sample in &dataset.samples {
        let words = sample.phrase.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
        by_text.entry((sample.image, &sample.split, words)).or_default().push(sorted(&sample.targets));
    }
    let (mut ambiguous, mut repeated) = (Vec::new(), Vec::new());
    for ((image, _, words), targets) in &by_text {
        let place = || format!("{words:?} in {}", dataset.images[*image].file_name);
        if targets.iter().any(|other| other != &targets[0]) {
            ambiguous.push(place());
        } else if targets.len() > 1 {
            repeated.push(place());
        }
    }
    ambiguous.sort();
    repeated.sort();
    let code = "ambiguous-phrase";
    findings.add(Severity::Warning, code, "one phrase means different targets in one image", ambiguous);
    findings.add(Severity::Note, "repeated-phrase", "one phrase stands several times for one target", repeated);
    let long = |sample: &&crate::dataset::Sample| sample.phrase.split_whitespace().count() > 38;
    let long: Vec<String> = dataset.samples.iter().filter(long).map(|sample| format!("sample {}", sample.id)).collect();
    findings.add(Severity::Note, "long-phrase", "phrases of more than 38 words will be cut by every model", long);
    let zero = dataset.samples.iter().filter(|sample| sample.targets.is_empty()).count();
    if zero > 0 {
        let share = 100.0 * zero as f64 / dataset.samples.len() as f64;
        let severity = if share > 50.0 { Severity::Warning } else { Severity::Note };
        let message = format!("{share:.1} % of the expressions have no target");
        findings.0.push(Finding { severity, code: "no-target-share", message, count: zero, examples: Vec::new() });
    }
}

fn split_findings(dataset: &Dataset, findings: &mut Findings) {
    let mut of_image: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for sample in &dataset.samples {
        of_image.entry(sample.image).or_default().insert(&sample.split);
    }
    let leaks = |splits: &BTreeSet<&str>| splits.contains("train") && splits.len() > 1;
    let shared: Vec<String> = of_image
        .iter()
        .filter(|(_, splits)| leaks(splits))
        .map(|(&image, splits)| format!("{} in {splits:?}", dataset.images[image].file_name))
        .collect();
    let message = "images are in the training split and in another; scores on the other would flatter";
    findings.add(Severity::Warning, "split-overlap", message, shared);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{ImageRecord, Sample};

    fn sample(id: &str) -> Sample {
        Sample {
            id: id.into(),
            image: 0,
            phrase: format!("cup {id}"),
            cleaned: None,
            split: "train".into(),
            targets: Vec::new(),
            group: 1,
            sentence_id: None,
            source: None,
        }
    }

    #[test]
    fn the_order_of_targets_makes_no_phrase_ambiguous() {
        let meaning = |id: &str, targets: Vec<usize>| Sample { phrase: "both cups".into(), targets, ..sample(id) };
        let mut dataset = Dataset {
            images: vec![ImageRecord { id: 1, file_name: "a.jpg".into(), size: None }],
            samples: vec![meaning("1", vec![0, 1]), meaning("2", vec![1, 0])],
            ..Dataset::default()
        };
        let mut findings = Findings::default();
        phrase_findings(&dataset, &mut findings);
        assert_eq!(findings.0.iter().map(|finding| finding.code).collect::<Vec<_>>(), ["repeated-phrase"]);
        dataset.samples.push(meaning("3", vec![1]));
        let mut findings = Findings::default();
        phrase_findings(&dataset, &mut findings);
        assert_eq!(findings.0.iter().map(|finding| finding.code).collect::<Vec<_>>(), ["ambiguous-phrase"]);
    }

    #[test]
    fn ids_that_stand_twice_are_found() {
        let mut dataset = Dataset {
            images: vec![ImageRecord { id: 1, file_name: "a.jpg".into(), size: None }],
            samples: vec![sample("1-1"), sample("1-2")],
            ..Dataset::default()
        };
        let found = |dataset: &Dataset| lint(dataset).into_iter().find(|finding| finding.code == "duplicate-id");
        assert_eq!(found(&dataset), None);
        dataset.samples.push(sample("1-1"));
        assert_eq!(found(&dataset).unwrap().examples, ["sample 1-1"]);
    }
}
