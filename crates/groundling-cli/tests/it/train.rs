//! Training as people start it, and as it is killed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin;
use groundling_models::contract::{ConfigError, Trainable};
use groundling_models::dmmi::{Dmmi, DmmiConfig};
use groundling_models::focus_detr::{FocusDetr, FocusDetrConfig};
use groundling_models::qrnet::{QrNet, QrNetConfig};
use groundling_models::scalablevit::{ScalableVit, ScalableVitConfig};
use groundling_models::scanformer::{ScanFormer, ScanFormerConfig};
use groundling_models::transvg::{TransVg, TransVgConfig};
use groundling_models::vltvg::{Vltvg, VltvgConfig};
use groundling_testkit::scratch;
use groundling_train::recipe::Recipe;

const RECIPE: &str = "
    [model]
    system = \"scanformer\"
    preset = \"tiny\"
    config = { dim = 12, layers = 2, mlp_hidden = 12, select_layer = 1, image_size = 32 }
    [[data]]
    source = \"scenes:train:1000\"
    size = [32, 32]
    phrases = [2, 2]
    [schedule]
    steps = 24
    batch = 4
    phrases_per_picture = 2
    [optimizer]
    ema = { decay = 0.9 }
    [criterion]
    target_patches = 1.0
    [output]
    save_every = 1
    precision = \"f32\"
";

fn command(recipe: &Path, out: &Path) -> Command {
    let mut command = Command::new(cargo_bin!("groundling"));
    command.args(["train", "--quiet", "--json", "--threads", "1", "--out"]).arg(out).arg(recipe);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn finish(recipe: &Path, out: &Path) -> serde_json::Value {
    let done = command(recipe, out).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

/// The numbers of a state: everything after the header, which holds clocks.
fn numbers(out: &Path) -> Vec<u8> {
    let bytes = std::fs::read(out.join("state.safetensors")).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + header..].to_vec()
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_same_bits() {
    let folder = scratch("cli-train-killed");
    let (recipe, whole, killed) = (folder.join("small.toml"), folder.join("whole"), folder.join("killed"));
    std::fs::write(&recipe, RECIPE).unwrap();
    let summary = finish(&recipe, &whole);
    assert_eq!((summary["schema"].as_str(), summary["finished"].as_bool()), (Some("groundling.trained/1"), Some(true)));

    // Ten ends at moments that have nothing to do with steps. On a slow machine some come before the first step and some runs
    // end by themselves on a fast one: what follows holds whenever they come.
    let state = killed.join("state.safetensors");
    for round in 0..10u64 {
        let before = std::fs::metadata(&state).and_then(|meta| meta.modified()).ok();
        let mut child = command(&recipe, &killed).spawn().unwrap();
        // Wait until this part of the run has written a state, or has ended, then a little longer.
        let patience = Instant::now() + Duration::from_secs(60);
        while std::fs::metadata(&state).and_then(|meta| meta.modified()).ok() == before
            && child.try_wait().unwrap().is_none()
            && Instant::now() < patience
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(round * 7 % 10));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let summary = finish(&recipe, &killed);
    assert_eq!(summary["step"].as_u64(), Some(24));
    assert!(numbers(&whole) == numbers(&killed), "weights, moments and average are equal bit for bit");
    assert_eq!(std::fs::read(whole.join("recipe.toml")).unwrap(), std::fs::read(killed.join("recipe.toml")).unwrap());
}

#[test]
fn a_dry_run_says_what_it_would_take_and_writes_nothing() {
    let folder = scratch("cli-train-dry");
    let (recipe, out) = (folder.join("small.toml"), folder.join("out"));
    std::fs::write(&recipe, RECIPE).unwrap();
    let done = command(&recipe, &out).arg("--dry-run").output().unwrap();
    let plan: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((plan["schema"].as_str(), plan["steps"].as_u64()), (Some("groundling.plan/1"), Some(24)));
    assert!(plan["memory"]["weights"].as_u64().unwrap() > 1_000_000);
    assert!(!out.exists());
}

#[test]
fn mistakes_end_with_code_2_and_a_place() {
    let folder = scratch("cli-train-mistakes");
    let recipe = folder.join("small.toml");
    std::fs::write(&recipe, RECIPE.replace("batch = 4", "batches = 4")).unwrap();
    let done = command(&recipe, &folder.join("out")).output().unwrap();
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2));
    assert!(stderr.contains("small.toml:12: unknown field `batches`, expected one of `steps`"), "{stderr}");
    std::fs::write(&recipe, RECIPE).unwrap();
    let mut other = command(&recipe, &folder.join("out"));
    let done = other.args(["-o", "model.config.dims=12"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(stderr.contains("model.config.dims is 12, expected one of"), "{stderr}");
    let done = command(&recipe, &folder.join("out")).args(["--resume", "required"]).output().unwrap();
    assert_eq!(done.status.code(), Some(2));
    let done = Command::new(cargo_bin!("groundling")).args(["train", "--threads", "0"]).arg(&recipe).output().unwrap();
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2));
    assert!(stderr.contains("--threads is 0, expected at least 1"), "{stderr}");
}

/// Reads every recipe of a system: header, keys, presets, sources, layouts of the checkpoints to start from.
fn recipes_of<M: Trainable>(
    expected: usize,
    preset: impl Fn(&str) -> Option<M::Config>,
    check: impl Fn(&M::Config, &M::Criterion) -> Result<(), ConfigError>,
) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes").join(M::NAME);
    let mut found = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let command =
            format!("# command   groundling train recipes/{}/{}", M::NAME, path.file_name().unwrap().to_str().unwrap());
        for word in [command.as_str(), "# hardware ", "# time ", "# expected "] {
            assert!(text.contains(word), "{}: the header lacks {word:?}", path.display());
        }
        let mut recipe = Recipe::<M::Criterion>::parse(&text, &path.display().to_string(), &[]).unwrap();
        assert_eq!(recipe.model.system, M::NAME, "{}", path.display());
        let config = recipe.resolve(&preset(&recipe.model.preset).unwrap()).unwrap();
        check(&config, &recipe.criterion).unwrap();
        for source in recipe.data.iter().map(|data| &data.source).chain(recipe.validation.iter().map(|v| &v.source)) {
            source.parse::<groundling_data::DataSource>().unwrap();
        }
        let known: Vec<&str> = M::layouts(&config).iter().map(|layout| layout.name).collect();
        assert!(recipe.model.layout.iter().all(|layout| known.contains(&layout.as_str())), "{}", path.display());
        found += 1;
    }
    assert_eq!(found, expected, "the number of recipes of {} changed", M::NAME);
}

#[test]
fn every_recipe_of_the_project_is_read() {
    recipes_of::<ScanFormer>(6, ScanFormerConfig::preset, |config, criterion| config.check().and(criterion.check()));
    recipes_of::<Dmmi>(11, DmmiConfig::preset, |config, criterion| config.check().and(criterion.check()));
    recipes_of::<TransVg>(8, TransVgConfig::preset, |config, criterion| config.check().and(criterion.check()));
    recipes_of::<Vltvg>(7, VltvgConfig::preset, |config, _| config.check());
    recipes_of::<QrNet>(5, QrNetConfig::preset, |config, criterion| config.check().and(criterion.check()));
    recipes_of::<FocusDetr>(3, FocusDetrConfig::preset, |config, criterion| config.check().and(criterion.check()));
    recipes_of::<ScalableVit>(6, ScalableVitConfig::preset, |config, criterion| config.check().and(criterion.check()));
}
