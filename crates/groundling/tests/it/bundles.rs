//! Folders of weights: there and back, and everything that can be wrong with one.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use groundling::bundle::{TrainingData, TrainingRecord};
use groundling::{Bundle, BundleError, BundleLimits, Description, GroundError, Grounder};
use groundling_nn::checkpoint::{CheckpointError, Precision};
use groundling_testkit::scratch;
use serde_json::{Value, json};

use crate::fake::{Fake, FakeConfig, broken, fake};

fn description() -> Description {
    let data = vec![TrainingData { source: "scenes:train:10".into(), seed: Some(7), sha256: None }];
    let training =
        TrainingRecord { recipe: Some("recipe.toml".into()), data, seed: 3, steps: 20, figures: Default::default() };
    Description {
        name: "fake-small".into(),
        preset: "small".into(),
        licence: "MIT".into(),
        training: Some(training),
        recipe: Some("[model]\n".into()),
        card: Some("# A fake\n".into()),
        ..Description::default()
    }
}

fn written(name: &str) -> std::path::PathBuf {
    let folder = scratch(name).join("weights");
    Bundle::write(&folder, &fake(FakeConfig::SMALL), &description(), Precision::F16).unwrap();
    folder
}

fn open(folder: &Path) -> Result<Bundle, BundleError> {
    Bundle::open(folder, &BundleLimits::default())
}

fn load(folder: &Path) -> Result<Fake, BundleError> {
    open(folder)?.load(&Device::flex())
}

fn edit(folder: &Path, change: impl Fn(&mut Value)) {
    let path = folder.join("config.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut manifest);
    fs::write(path, manifest.to_string()).unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.collect();
    names.sort();
    names
}

#[test]
fn a_model_goes_there_and_back() {
    let folder = written("bundle-round-trip");
    assert_eq!(names(&folder), ["README.md", "config.json", "model.safetensors", "recipe.toml"]);
    let bundle = open(&folder).unwrap();
    assert_eq!(bundle.config::<Fake>().unwrap(), FakeConfig::SMALL);
    assert_eq!((bundle.manifest().name.as_str(), bundle.manifest().weights.parameters), ("fake-small", 4));
    assert_eq!(bundle.manifest().training.as_ref().unwrap().data[0].source, "scenes:train:10");
    bundle.verify().unwrap();
    let table = load(&folder).unwrap().table.val().into_data();
    assert_eq!(table.iter::<f32>().collect::<Vec<_>>(), [0.25; 4]);
    // The file inside names the folder as well.
    let again = open(&folder.join("model.safetensors")).unwrap();
    assert_eq!(again.manifest(), bundle.manifest());
}

#[test]
fn writing_again_replaces_the_model_and_leaves_nothing_behind() {
    let folder = written("bundle-again");
    for (numbers, file) in [(5, "model-next.safetensors"), (6, "model.safetensors"), (7, "model-next.safetensors")] {
        let config = FakeConfig { numbers, ..FakeConfig::SMALL };
        let bundle = Bundle::write(&folder, &fake(config), &description(), Precision::F32).unwrap();
        bundle.verify().unwrap();
        assert_eq!(load(&folder).unwrap().table.val().dims(), [numbers]);
        assert_eq!(names(&folder), ["README.md", "config.json", file, "recipe.toml"]);
    }
}

#[test]
fn a_writer_that_was_stopped_leaves_the_old_model() {
    let folder = written("bundle-stopped");
    // The new weights are there, the new manifest is not.
    fs::write(folder.join("model-next.safetensors"), "half of it").unwrap();
    fs::write(folder.join(".config.json.77.tmp"), "{").unwrap();
    open(&folder).unwrap().verify().unwrap();
    assert_eq!(load(&folder).unwrap().table.val().dims(), [4]);
}

#[test]
fn every_fault_is_named_with_a_hint() {
    let check = |name: &str, spoil: &dyn Fn(&Path), message: &str, hint: &str| {
        let folder = written(&format!("bundle-{name}"));
        spoil(&folder);
        let error = load(&folder).err().unwrap_or_else(|| panic!("{name}: it loads"));
        assert!(error.to_string().contains(message), "{name}: {error}");
        let said = error.hint().unwrap_or_default();
        assert!(said.contains(hint) && said.is_empty() == hint.is_empty(), "{name}: {said:?}");
    };
    let remove = |file: &'static str| move |folder: &Path| fs::remove_file(folder.join(file)).unwrap();
    check("folder", &|folder| fs::remove_dir_all(folder).unwrap(), "expected a folder of weights", "config.json");
    check("manifest", &remove("config.json"), "config.json: a folder of weights needs this file", "groundling convert");
    check("weights", &remove("model.safetensors"), "the file of weights is missing", "copy the whole folder");
    let set =
        |key: &'static str, value: Value| move |folder: &Path| edit(folder, |manifest| manifest[key] = value.clone());
    check("schema", &set("schema", json!("groundling.model/9")), "`schema` is \"groundling.model/9\"", "update");
    check("other", &set("system", json!("dmmi")), "`system` is \"dmmi\", expected \"fake\"", "groundling classify");
    check("unknown", &set("colour", json!("red")), "unknown field `colour`", "");
    check("config", &set("config", json!({"side": 32})), "`config` is none of fake: missing field `numbers`", "");
    let contradiction = set("config", json!({"side": 32, "numbers": 0}));
    check("belongs", &contradiction, "weights of another model: `config.numbers` is 4, expected 0", "copy both");
    check("json", &|folder| fs::write(folder.join("config.json"), "{]").unwrap(), "line 1 column 2", "");
    let big = |folder: &Path| fs::write(folder.join("config.json"), vec![b' '; (1 << 20) + 1]).unwrap();
    check("big", &big, "1048577 bytes, expected at most 1048576", "");
    let outside = |folder: &Path| edit(folder, |manifest| manifest["weights"]["file"] = json!("../model.safetensors"));
    check("outside", &outside, "expected the name of a file in the same folder", "");
    let cut = |folder: &Path| {
        let path = folder.join("model.safetensors");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    };
    check("cut", &cut, "beyond the end of the file", "cut short");
    let nan = |folder: &Path| drop(Bundle::write(folder, &broken(), &description(), Precision::F32).unwrap());
    check("nan", &nan, "numbers that are not finite in table", "earlier checkpoint");
}

#[test]
fn weights_that_say_nothing_must_fit() {
    let folder = written("bundle-foreign");
    let tensor = |numbers: usize| groundling_nn::checkpoint::StoredTensor::from_values([numbers], vec![0.5; numbers]);
    let write = |name: &str, numbers: usize| {
        // A file of somebody else's: no word about system and configuration.
        let header = json!({name: {"dtype": "F32", "shape": [numbers], "data_offsets": [0, 4 * numbers]}}).to_string();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(tensor(numbers).read_f32().unwrap().into_iter().flat_map(f32::to_le_bytes));
        fs::write(folder.join("model.safetensors"), file).unwrap();
    };
    write("table", 4);
    assert_eq!(load(&folder).unwrap().table.val().into_data().iter::<f32>().next(), Some(0.5));
    write("table", 5);
    let error = load(&folder).unwrap_err();
    assert!(
        matches!(&error, BundleError::Checkpoint(CheckpointError::Mismatch(report)) if report.wrong_shape.len() == 1)
    );
    write("tabel", 4);
    let error = load(&folder).unwrap_err().to_string();
    assert!(error.contains("missing: 1") && error.contains("table; nearest unused: tabel"), "{error}");
}

#[test]
fn verifying_notices_a_changed_bit() {
    let folder = written("bundle-verify");
    let path = folder.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let bundle = open(&folder).unwrap();
    assert!(bundle.load::<Fake>(&Device::flex()).is_ok(), "opening compares no hash");
    let error = bundle.verify().unwrap_err();
    assert!(matches!(error, BundleError::Hash { .. }) && error.hint().unwrap().contains("copy"), "{error}");
    edit(&folder, |manifest| manifest["vocabulary"]["sha256"] = json!("00"));
    edit(&folder, |manifest| manifest["weights"]["sha256"] = json!(groundling::hash::of_file(&path).unwrap()));
    assert!(matches!(open(&folder).unwrap().verify().unwrap_err(), BundleError::Vocabulary { .. }));
}

#[test]
fn a_system_that_this_version_lacks_is_named() {
    let folder = written("bundle-system");
    let error = Grounder::open(&folder).unwrap_err();
    assert!(
        matches!(&error, GroundError::Weights(BundleError::UnknownSystem { found, .. }) if found == "fake"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("groundling models"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_and_the_old_model_stays() {
    let folder = written("bundle-full");
    // Where the new weights would go stands a link to a device that is always full.
    std::os::unix::fs::symlink("/dev/full", folder.join(format!("model-next.safetensors.{}.tmp", std::process::id())))
        .unwrap();
    let error = Bundle::write(&folder, &fake(FakeConfig::SMALL), &description(), Precision::F32).unwrap_err();
    assert!(error.to_string().contains("No space left on device"), "{error}");
    open(&folder).unwrap().verify().unwrap();
}
