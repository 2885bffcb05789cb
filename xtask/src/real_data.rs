//! Readers, linter and evaluator on real data that may not be copied into the repository.
//!
//! Expectations come from files beside the data: tables of its README.md, masks that pycocotools decoded, figures that it
//! computed. A missing folder is a failure, never a skip.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use groundling_core::{ImageSize, Rle};
use groundling_data::check::{self, Severity, split_counts};
use groundling_data::image::decode::{ExifOrientation, ImageLimits, decode_file};
use groundling_data::readers::coco;
use groundling_data::readers::refer::{Flavour, ReferFiles, read_refs, select_split};
use groundling_data::readers::resc::{self, ListBox};
use groundling_data::text::wordpiece::WordPiece;
use groundling_data::{Dataset, MaskRule};
use serde_json::Value;

/// What one step checks; the text it returns says what it saw.
type Step = fn(&Path) -> anyhow::Result<String>;

pub(crate) fn run(folder: Option<PathBuf>) -> anyhow::Result<()> {
    let root = find(folder)?;
    let steps: [(&str, Step); 7] = [
        ("refcoco-mini, counts and masks", refcoco_mini),
        ("refcoco-mini, pickle variants", pickle_variants),
        ("refcoco-mini, constructed zero/many sets", constructed),
        ("refcoco-mini, protocols on masks", crate::real_masks::mask_protocols),
        ("refcoco-lists", refcoco_lists),
        ("coco-mini", coco_mini),
        ("linter on all of them", linter),
    ];
    for (name, step) in steps {
        let said = step(&root).with_context(|| name.to_owned())?;
        println!("{name}: {said}");
    }
    Ok(())
}

/// The folder named, or `GROUNDLING_REAL_DATA`, or a folder `data` with the sets in it beside or above the repository.
fn find(folder: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let holds_data = |folder: &PathBuf| folder.join("refcoco-mini").is_dir();
    if let Some(folder) = folder.or_else(|| std::env::var_os("GROUNDLING_REAL_DATA").map(PathBuf::from)) {
        ensure!(holds_data(&folder), "{}: there is no refcoco-mini in it", folder.display());
        return Ok(folder);
    }
    let above = crate::repository().join("..");
    let siblings = std::fs::read_dir(&above).into_iter().flatten().flatten().map(|entry| entry.path().join("data"));
    let found = siblings.chain([above.join("data")]).find(holds_data);
    found.context("refcoco-mini, refcoco-lists, coco-mini not found; name their folder: cargo xtask real-data DIR")
}

fn json(path: &Path) -> anyhow::Result<Value> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
}

/// Rows of the Markdown tables of a file, cells trimmed.
fn table_rows(path: &Path) -> anyhow::Result<Vec<Vec<String>>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let rows = text.lines().filter(|line| line.starts_with('|') && !line.contains("---"));
    Ok(rows.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect())
}

fn numbers(cell: &str) -> Vec<usize> {
    cell.split('/').filter_map(|part| part.trim().replace(',', "").parse().ok()).collect()
}

/// Every annotation drawn by us equals what pycocotools decoded: runs, area, box.
fn same_masks(dataset: &Dataset, expected: &Value) -> anyhow::Result<usize> {
    let mut compared = 0;
    for (index, annotation) in dataset.annotations.iter().enumerate() {
        let Some(mask) = expected["masks"].get(annotation.id.to_string()) else { continue };
        let side = |i: usize| mask["size"][i].as_u64().unwrap_or_default() as u32;
        let size = ImageSize::new(side(0), side(1))?;
        let wanted = Rle::from_compressed(size, mask["counts"].as_str().unwrap_or_default())?;
        let found = dataset.annotation_mask(index, MaskRule::Union)?.context("annotation without outline")?;
        ensure!(found.counts() == wanted.counts(), "annotation {}: mask differs", annotation.id);
        ensure!(Some(found.area()) == mask["area"].as_u64(), "annotation {}: area differs", annotation.id);
        let bbox = found.bbox().map(|bbox| bbox.to_xywh().to_array()).unwrap_or_default();
        let wanted: Vec<f64> = mask["bbox"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        ensure!(bbox[..] == wanted[..], "annotation {}: box {bbox:?}, expected {wanted:?}", annotation.id);
        compared += 1;
    }
    Ok(compared)
}

fn refcoco_mini(root: &Path) -> anyhow::Result<String> {
    let root = root.join("refcoco-mini");
    let masks = json(&root.join("expected_masks.json"))?;
    let rows = table_rows(&root.join("README.md"))?;
    let mut sets = 0;
    let mut compared = BTreeMap::new();
    for row in rows {
        let Some((set, by)) = row[0].split_once(" (").map(|(set, by)| (set, by.trim_end_matches(')'))) else {
            continue;
        };
        let files = ReferFiles::find(&root.join(set), by, Flavour::Refer)?;
        let dataset = files.read()?;
        for (split, cell) in ["val", "testA", "testB"].into_iter().zip(&row[1..]) {
            let wanted = numbers(cell);
            let mut part = dataset.clone();
            if wanted.is_empty() {
                ensure!(select_split(&mut part, split, &files).is_err(), "{set} {split} should not exist");
                continue;
            }
            select_split(&mut part, split, &files)?;
            let counts = split_counts(&part)[split];
            let found = [counts.images, counts.refs, counts.expressions];
            ensure!(found[..] == wanted[..], "{set} ({by}) {split}: {found:?}, its README says {wanted:?}");
        }
        compared.insert(set.to_owned(), same_masks(&dataset, &masks)?);
        for (index, image) in dataset.images.iter().enumerate() {
            let picture = decode_file(&dataset.image_path(index)?, ImageLimits::default(), ExifOrientation::Ignore)?;
            let size = ImageSize::new(picture.height(), picture.width())?;
            ensure!(Some(size) == image.size, "{}: {size}, stated {:?}", image.file_name, image.size);
        }
        sets += 1;
    }
    ensure!(sets == 4, "{sets} sets in the README's table, expected 4");
    ensure!(compared.values().all(|&n| n > 0), "masks compared: {compared:?}");
    Ok(format!("{sets} sets, counts as in the README, masks equal pycocotools' ({compared:?})"))
}

fn pickle_variants(root: &Path) -> anyhow::Result<String> {
    let root = root.join("refcoco-mini");
    let original = read_refs(&root.join("refcoco/refs(unc).p"))?;
    ensure!(original == read_refs(&root.join("refcoco/refs(unc).json"))?, "the pickle and its JSON copy differ");
    let mut variants = 0;
    for entry in std::fs::read_dir(root.join("pickle-variants"))? {
        let path = entry?.path();
        ensure!(read_refs(&path)? == original, "{} differs", path.display());
        variants += 1;
    }
    ensure!(variants >= 3, "only {variants} variants");
    Ok(format!("{variants} variants and the JSON copy give the same {} refs", original.len()))
}

fn constructed(root: &Path) -> anyhow::Result<String> {
    let root = root.join("refcoco-mini/constructed");
    let mut counts = Vec::new();
    for (folder, by, flavour) in [("grefcoco", "unc", Flavour::GRefCoco), ("ref-zom", "final", Flavour::RefZom)] {
        let dataset = ReferFiles::find(&root.join(folder), by, flavour)?.read()?;
        let mut total = [0, 0, 0];
        for split in split_counts(&dataset).values() {
            total = [total[0] + split.one, total[1] + split.many, total[2] + split.zero];
        }
        for sample in &dataset.samples {
            let truth = dataset.truth(sample, MaskRule::Union)?;
            ensure!(truth.is_absent() || truth.union_mask().is_some_and(|mask| !mask.is_empty()), "empty truth");
            if let Some(source) = &sample.source {
                ensure!(source == truth.count().name(), "{}: source {source}", sample.id);
            }
        }
        counts.push((folder, total));
    }
    // The README says it in prose: 19 one-target, 43 many-target, 22 no-target.
    let text = std::fs::read_to_string(root.join("../README.md"))?;
    let said = |kind: &str| -> Option<usize> {
        let places = text.match_indices(&format!("{kind}-target")).map(|(place, _)| place).collect::<Vec<_>>();
        places.into_iter().find_map(|place| text[..place].split_whitespace().next_back()?.parse().ok())
    };
    let wanted: Vec<_> = ["one", "many", "no"].iter().filter_map(|kind| said(kind)).collect();
    ensure!(wanted.len() == 3, "the README does not say how many of each kind: {wanted:?}");
    for (folder, found) in &counts {
        ensure!(found[..] == wanted[..], "{folder}: {found:?} one/many/zero, its README says {wanted:?}");
    }
    Ok(format!("{wanted:?} one/many/zero in both layouts, as in the README"))
}

fn gunzip(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).with_context(|| path.display().to_string())?;
    Ok(text)
}

fn refcoco_lists(root: &Path) -> anyhow::Result<String> {
    let root = root.join("refcoco-lists");
    let words = WordPiece::bert_base_uncased();
    let (mut files, mut sentences, mut unknown, mut pieces) = (0, 0, 0usize, 0usize);
    for row in table_rows(&root.join("README.md"))?.iter().filter(|row| row[0].ends_with(".tsv.gz")) {
        let text = gunzip(&root.join(&row[0]))?;
        let wanted = numbers(&row[1]);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        ensure!(wanted == [lines.len()], "{}: {} sentences, its README says {wanted:?}", row[0], lines.len());
        for line in &lines {
            let phrase = line.rsplit('\t').next().unwrap_or_default();
            let encoded = words.encode(phrase);
            ensure!(encoded.spans.iter().all(|span| phrase.get(span.clone()).is_some()), "{phrase:?}: spans");
            pieces += encoded.ids.len() - 2;
            unknown += encoded.ids.iter().filter(|&&id| id == words.special().unknown).count();
        }
        sentences += lines.len();
        files += 1;
    }
    ensure!(files == 8, "{files} lists, expected 8");

    // The original list holds what the table holds.
    let list = root.join("unc_testB.pth");
    let dataset = resc::read(&list, ListBox::of_file(&list), Vec::new())?;
    let text = gunzip(&root.join("refcoco_unc_testB.tsv.gz"))?;
    let mut rows: Vec<(String, [f64; 4], String)> = Vec::new();
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split('\t').collect();
        let [file, _, x, y, width, height, phrase] = cells[..] else { bail!("{line:?} has {} cells", cells.len()) };
        let numbers = [x.parse()?, y.parse()?, width.parse()?, height.parse()?];
        rows.push((file.to_owned(), numbers, phrase.to_owned()));
    }
    ensure!(dataset.samples.len() == rows.len(), "{} entries, {} rows", dataset.samples.len(), rows.len());
    let mut entries: Vec<_> = dataset
        .samples
        .iter()
        .map(|sample| {
            let bbox = dataset.annotations[sample.targets[0]].bbox.to_array();
            (dataset.images[sample.image].file_name.clone(), bbox, sample.phrase.clone())
        })
        .collect();
    let key =
        |row: &(String, [f64; 4], String)| (row.0.clone(), row.2.clone(), row.1.map(|v| (v * 100.0).round() as i64));
    entries.sort_by_key(key);
    rows.sort_by_key(key);
    for (entry, row) in entries.iter().zip(&rows) {
        let close = entry.1.iter().zip(row.1).all(|(a, b)| (a - b).abs() < 0.011);
        ensure!(entry.0 == row.0 && entry.2 == row.2 && close, "{entry:?} is not {row:?}");
    }
    let share = 100.0 * unknown as f64 / pieces as f64;
    Ok(format!(
        "{files} lists with {sentences} sentences, {pieces} word pieces ({share:.3} % unknown); unc_testB.pth equals its table \
         in {} entries",
        rows.len()
    ))
}

fn coco_mini(root: &Path) -> anyhow::Result<String> {
    let root = root.join("coco-mini");
    let masks = json(&root.join("expected_masks.json"))?;
    let readme = std::fs::read_to_string(root.join("README.md"))?;
    let mut said = Vec::new();
    for split in ["train2017", "val2017"] {
        let file = format!("annotations/instances_{split}.json");
        let dataset = coco::read(&root.join(&file), vec![root.join(split)])?;
        let crowds = dataset.annotations.iter().filter(|annotation| annotation.is_crowd).count();
        let used: std::collections::BTreeSet<_> = dataset.annotations.iter().filter_map(|a| a.category_id).collect();
        let line = readme.lines().find(|line| line.contains(&file)).context("the README does not count this file")?;
        let found = format!(
            "{} images, {} annotations ({crowds} crowd), {} categories used",
            dataset.images.len(),
            dataset.annotations.len(),
            used.len()
        );
        ensure!(line.contains(&found), "{file}: {found}; its README says {line:?}");
        let compared = same_masks(&dataset, &masks)?;
        ensure!(compared == dataset.annotations.len(), "{compared} masks compared");
        said.push(found);
    }
    Ok(format!("{}; every mask equals pycocotools'", said.join("; ")))
}

fn linter(root: &Path) -> anyhow::Result<String> {
    let mut said = Vec::new();
    for (folder, least) in [("refcoco-mini", 6), ("coco-mini", 2)] {
        let report = check::check(&root.join(folder))?;
        ensure!(report.datasets.len() >= least, "{folder}: {} data sets found", report.datasets.len());
        for dataset in &report.datasets {
            let errors: Vec<_> = dataset.findings.iter().filter(|f| f.severity == Severity::Error).collect();
            ensure!(errors.is_empty(), "{folder} {}: {errors:?}", dataset.name);
        }
        let findings: usize = report.datasets.iter().map(|dataset| dataset.findings.len()).sum();
        said.push(format!("{folder}: {} data sets, no error, {findings} lesser findings", report.datasets.len()));
    }
    Ok(said.join("; "))
}
