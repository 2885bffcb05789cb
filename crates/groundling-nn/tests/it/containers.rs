//! Where in a file the weights are found.

use groundling_nn::checkpoint::{Checkpoint, CheckpointError, Limits, Weights};
use groundling_testkit::scratch;
use groundling_testkit::torch::{CompressionMethod, archive, dictionary, int, pickle, tensor, text};

fn matrix() -> Vec<u8> {
    tensor(4, [2, 2], [2, 1])
}

fn figure() -> Vec<u8> {
    tensor(4, [1, 1], [1, 1])
}

/// A state dict with these names.
fn state(names: &[&str]) -> Vec<u8> {
    dictionary(&names.iter().map(|&name| (name, matrix())).collect::<Vec<_>>())
}

/// Writes a file with this dictionary and opens it.
fn open(name: &str, root: &[(&str, Vec<u8>)], weights: &Weights) -> Result<Checkpoint, CheckpointError> {
    let path = scratch(&format!("container-{name}")).join("file.pth");
    let bytes = archive(&pickle(&dictionary(root)), CompressionMethod::Stored, &[("0", &[0; 16])]);
    std::fs::write(&path, bytes).unwrap();
    Checkpoint::open_weights(&path, weights, &Limits::default())
}

/// Container and names, in a line.
fn found(name: &str, root: &[(&str, Vec<u8>)], weights: &Weights) -> String {
    match open(name, root, weights) {
        Ok(checkpoint) => {
            let names: Vec<&str> = checkpoint.tensors().keys().map(String::as_str).collect();
            format!("{} | {}", checkpoint.container().unwrap_or("-"), names.join(" "))
        }
        Err(CheckpointError::Ambiguous { candidates, .. }) => format!("ambiguous: {}", candidates.join(" ")),
        Err(CheckpointError::NoContainer { wanted, known, .. }) => format!("no {wanted}: {}", known.join(" ")),
        Err(error) => panic!("{name}: {error}"),
    }
}

#[test]
fn the_usual_containers_are_opened() {
    let (auto, ema) = (Weights::Auto, Weights::Ema);
    let named = |name: &str| Weights::Named(name.into());
    let w = || state(&["a.weight"]);
    let optimizer = || dictionary(&[("state", dictionary(&[("0", dictionary(&[("exp_avg", matrix())]))]))]);
    type Root = Vec<(&'static str, Vec<u8>)>;
    let rows: Vec<(&str, Root, Weights, &str)> = vec![
        ("bare", vec![("a.weight", matrix()), ("b", matrix())], auto.clone(), "- | a.weight b"),
        ("model", vec![("model", w()), ("epoch", int(4))], auto.clone(), "model | a.weight"),
        ("state_dict", vec![("state_dict", w()), ("optimizer", optimizer())], auto.clone(), "state_dict | a.weight"),
        ("deeper", vec![("state_dict", dictionary(&[("model", w())]))], auto.clone(), "state_dict.model | a.weight"),
        ("best", vec![("state_dict", w()), ("best_acc1", figure())], auto.clone(), "state_dict | a.weight"),
        ("wrapped", vec![("model", state(&["module.a", "module.b"]))], auto.clone(), "model | a b"),
        ("half wrapped", vec![("model", state(&["module.a", "b"]))], auto.clone(), "model | b module.a"),
        ("ema beside", vec![("model", w()), ("model_ema", state(&["e"]))], auto.clone(), "model | a.weight"),
        ("ema wanted", vec![("model", w()), ("model_ema", state(&["e"]))], ema.clone(), "model_ema | e"),
        ("ema only", vec![("ema", state(&["e"])), ("args", dictionary(&[]))], auto.clone(), "ema | e"),
        ("no ema", vec![("model", w())], ema.clone(), "no averaged weights: a"),
        ("two emas", vec![("ema", w()), ("teacher", w())], ema, "ambiguous: ema teacher"),
        ("two models", vec![("model", w()), ("text_model", w())], auto.clone(), "ambiguous: model text_model"),
        ("one of two", vec![("model", w()), ("text_model", state(&["t"]))], named("text_model"), "text_model | t"),
        ("deep name", vec![("x", dictionary(&[("y", w())]))], named("x.y"), "x.y | a.weight"),
        ("no such name", vec![("model", w())], named("modle"), "no modle: model"),
        // A network saved whole, whose parts are dictionaries.
        ("parts", vec![("backbone", w()), ("head", w())], auto.clone(), "- | backbone.a.weight head.a.weight"),
        // A part called `model` beside a tensor of the same network.
        ("a part", vec![("model", w()), ("scale", matrix())], auto.clone(), "- | model.a.weight scale"),
        ("everything", vec![("model", w()), ("ema", w())], Weights::Everything, "- | ema.a.weight model.a.weight"),
    ];
    let wrong: Vec<String> = rows
        .iter()
        .map(|(name, root, weights, expected)| (name, found(name, root, weights), expected))
        .filter(|(_, found, expected)| found != *expected)
        .map(|(name, found, expected)| format!("{name}: {found}, expected {expected}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_stands_beside_the_weights_is_listed() {
    let root = [("model", state(&["module.a"])), ("ema", state(&["e"])), ("epoch", int(7)), ("name", text("tiny"))];
    let checkpoint = open("beside", &root, &Weights::Auto).unwrap();
    assert_eq!(checkpoint.beside(), ["ema"]);
    assert_eq!(checkpoint.stripped(), ["module."]);
    assert_eq!((checkpoint.metadata()["epoch"].as_str(), checkpoint.metadata()["name"].as_str()), ("7", "tiny"));
    let error =
        open("beside-error", &[("model", state(&["a"])), ("b_model", state(&["a"]))], &Weights::Auto).unwrap_err();
    assert!(error.to_string().contains("`b_model`, `model`") && error.hint().is_some(), "{error}");
}
