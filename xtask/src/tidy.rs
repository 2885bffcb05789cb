//! Habits that no compiler checks: which crate may import which, and what must not stand in a tracked file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;

/// Our crates, what each may import of ours, and outside crates it must never import. The table of ARCHITECTURE.md.
const LAYERS: [(&str, &[&str], &[&str]); 12] = [
    ("groundling-core", &[], &["burn", "serde", "serde_json", "rand", "image", "tokio"]),
    ("groundling-data", &["groundling-core"], &["burn", "tokio", "clap"]),
    ("groundling-eval", &["groundling-core"], &["burn", "image", "tokio", "clap"]),
    ("groundling-viz", &["groundling-core"], &["burn", "tokio", "clap"]),
    ("groundling-kernels", &[], &["image", "serde_json", "tokio", "clap"]),
    ("groundling-nn", &["groundling-kernels"], &["image", "tokio", "clap"]),
    ("groundling-models", &["groundling-kernels", "groundling-nn", "groundling-core"], &["image", "tokio", "clap"]),
    ("groundling", &["groundling-models", "groundling-nn", "groundling-data", "groundling-core"], &["tokio", "clap"]),
    (
        "groundling-train",
        &["groundling", "groundling-models", "groundling-nn", "groundling-data", "groundling-eval", "groundling-core"],
        &["tokio", "clap", "axum"],
    ),
    ("groundling-server", &["groundling", "groundling-viz", "groundling-core"], &["clap"]),
    ("groundling-testkit", &[], &["burn"]),
    ("xtask", ANY, &["burn"]),
];

/// Marks a crate that may import all of ours.
const ANY: &[&str] = &["*"];
/// The edges may import everything of ours.
const EDGES: [&str; 1] = ["groundling-cli"];

pub(crate) fn run() -> anyhow::Result<()> {
    let faults = faults()?;
    if !faults.is_empty() {
        bail!("{} faults:\n  {}", faults.len(), faults.join("\n  "));
    }
    println!("tidy");
    Ok(())
}

/// Every fault found; empty if the workspace is tidy.
fn faults() -> anyhow::Result<Vec<String>> {
    let root = crate::repository();
    let metadata = metadata(&root)?;
    let mut faults = Vec::new();
    layers(&metadata, &mut faults);
    manifests(&root, &metadata, &mut faults)?;
    tracked_files(&root, &mut faults)?;
    Ok(faults)
}

fn metadata(root: &Path) -> anyhow::Result<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .context("cargo metadata does not start")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn packages(metadata: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    packages.iter().filter_map(|package| Some((package["name"].as_str()?, package)))
}

/// Names of the ordinary and build dependencies; what tests use is not part of a layer.
fn dependencies(package: &Value) -> BTreeSet<&str> {
    let dependencies = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    dependencies.iter().filter(|d| d["kind"] != "dev").filter_map(|d| d["name"].as_str()).collect()
}

fn layers(metadata: &Value, faults: &mut Vec<String>) {
    let table: BTreeMap<&str, (&[&str], &[&str])> =
        LAYERS.iter().map(|&(name, ours, never)| (name, (ours, never))).collect();
    for (name, package) in packages(metadata) {
        let is_ours = |dependency: &str| dependency.starts_with("groundling");
        let found = dependencies(package);
        if found.contains("groundling-testkit") {
            faults.push(format!("{name} imports groundling-testkit outside its tests"));
        }
        if EDGES.contains(&name) {
            continue;
        }
        let Some((allowed, never)) = table.get(name) else {
            faults.push(format!("{name} is not in the layer table of xtask/src/tidy.rs"));
            continue;
        };
        for dependency in found {
            if is_ours(dependency) && !allowed.contains(&dependency) && *allowed != ANY {
                faults.push(format!("{name} imports {dependency}; it may import {allowed:?} of ours"));
            }
            if never.contains(&dependency) || never.iter().any(|n| *n == "burn" && dependency.starts_with("burn-")) {
                faults.push(format!("{name} imports {dependency}, which its layer never does"));
            }
        }
    }
}

fn manifests(root: &Path, metadata: &Value, faults: &mut Vec<String>) -> anyhow::Result<()> {
    for (name, package) in packages(metadata) {
        let path = package["manifest_path"].as_str().unwrap_or_default();
        let text = std::fs::read_to_string(path).with_context(|| path.to_owned())?;
        if !text.contains("[lints]\nworkspace = true") {
            faults.push(format!("{name}: the manifest does not inherit the workspace's lints"));
        }
        let folder = Path::new(path).parent().and_then(Path::file_name).unwrap_or_default();
        if folder.to_string_lossy() != name {
            faults.push(format!("{name}: lies in a folder called {folder:?}"));
        }
        let binaries = package["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        let tests = binaries.iter().filter(|target| target["kind"][0] == "test").count();
        if tests > 1 {
            faults.push(format!("{name}: has {tests} integration test binaries, expected one (tests/it/main.rs)"));
        }
    }
    for file in
        ["LICENSE-MIT", "LICENSE-APACHE", "README.md", "ARCHITECTURE.md", "CHANGELOG.md", "NOTICE.md", "Cargo.lock"]
    {
        if !root.join(file).is_file() {
            faults.push(format!("{file} is missing"));
        }
    }
    Ok(())
}

/// Largest file we track, in bytes: a clone should stay quick.
const MAX_FILE_BYTES: u64 = 2 << 20;
/// Largest file of weights: the default model is part of the repository and of the program.
const MAX_WEIGHTS_BYTES: u64 = 12 << 20;

fn tracked_files(root: &Path, faults: &mut Vec<String>) -> anyhow::Result<()> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output();
    let Ok(output) = output else { return Ok(()) }; // an unpacked archive has no git
    for name in String::from_utf8_lossy(&output.stdout).split('\0').filter(|name| !name.is_empty()) {
        let path = root.join(name);
        let Ok(meta) = std::fs::metadata(&path) else { continue };
        let weights = name.starts_with("weights/") && name.ends_with(".safetensors");
        let most = if weights { MAX_WEIGHTS_BYTES } else { MAX_FILE_BYTES };
        if meta.len() > most {
            faults.push(format!("{name}: {} bytes, expected at most {most}", meta.len()));
        }
        if name.ends_with(".rs") && name != "xtask/src/tidy.rs" {
            let text = std::fs::read_to_string(&path).with_context(|| name.to_owned())?;
            source_file(name, &text, faults);
        }
    }
    Ok(())
}

/// What no Rust file of ours holds.
fn source_file(name: &str, text: &str, faults: &mut Vec<String>) {
    const FORBIDDEN: [(&str, &str); 5] = [
        ("todo!(", "a stub"),
        ("unimplemented!(", "a stub"),
        ("#[ignore", "an ignored test; assert today's behaviour with a note instead"),
        ("FIXME", "a reminder; mend it or open an issue"),
        ("XXX", "a reminder; mend it or open an issue"),
    ];
    for (number, line) in text.lines().enumerate() {
        for (what, why) in FORBIDDEN.iter().filter(|(what, _)| line.contains(what)) {
            faults.push(format!("{name}:{}: {what:?} is {why}", number + 1));
        }
    }
    if text.lines().count() > 900 {
        faults.push(format!("{name}: {} lines; a file tells one story", text.lines().count()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_workspace_is_tidy() {
        assert_eq!(faults().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_forbidden_edge_is_found() {
        let package = |name: &str, dependencies: &[(&str, Option<&str>)]| {
            let list: Vec<Value> =
                dependencies.iter().map(|(name, kind)| json!({"name": name, "kind": kind})).collect();
            json!({"name": name, "dependencies": list})
        };
        let metadata = json!({"packages": [
            package("groundling-core", &[("thiserror", None), ("serde", None)]),
            package("groundling-eval", &[("groundling-data", None), ("groundling-testkit", Some("dev"))]),
            package("groundling-data", &[("groundling-core", None), ("burn-tensor", None)]),
            package("groundling-viz", &[("groundling-testkit", None)]),
            package("groundling-new", &[]),
        ]});
        let mut faults = Vec::new();
        layers(&metadata, &mut faults);
        assert_eq!(faults.len(), 6, "{faults:#?}");
        assert!(faults[0].contains("groundling-core imports serde"));
        assert!(faults[1].contains("groundling-eval imports groundling-data"));
        assert!(faults[2].contains("groundling-data imports burn-tensor"));
        assert!(faults[3].contains("groundling-viz imports groundling-testkit outside its tests"));
        assert!(faults[5].contains("groundling-new is not in the layer table"));
    }

    #[test]
    fn stubs_are_found() {
        let mut faults = Vec::new();
        source_file("a.rs", "fn f() {\n    todo!()\n}\n", &mut faults);
        assert_eq!(faults, ["a.rs:2: \"todo!(\" is a stub"]);
    }
}
