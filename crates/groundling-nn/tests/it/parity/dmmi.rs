//! The two containers of a released checkpoint's structure.

mod losses;

use groundling_nn::checkpoint::{Checkpoint, CheckpointError, ElementType, Format, Limits, Weights};
use groundling_testkit::Folder;
use groundling_testkit::goldens::read_json;

#[test]
fn checkpoint_container() {
    for case in Folder::open("dmmi").of_kinds(&["checkpoint_container"], 1) {
        let expected = read_json(&case.file());
        let files: Vec<String> = serde_json::from_value(case.json["files"].clone()).unwrap();
        assert!(!files.is_empty());
        for file in files {
            let path = case.path(&file);
            let mut read = 0;
            for (set, tensors) in expected.as_object().unwrap() {
                let Some(tensors) = tensors.as_object() else { continue };
                let open = Checkpoint::open_weights(&path, &Weights::Named(set.clone()), &Limits::default());
                let checkpoint = open.unwrap();
                assert_eq!(checkpoint.container(), Some(set.as_str()));
                assert!(checkpoint.beside().iter().any(|name| name == "optimizer"), "{:?}", checkpoint.beside());
                assert!(matches!(checkpoint.format(), Format::TorchZip | Format::TorchPickle));
                assert_eq!(checkpoint.metadata()["epoch"], expected["epoch"].to_string());
                let names: Vec<&String> = checkpoint.tensors().keys().collect();
                let mut known: Vec<&String> = tensors.keys().collect();
                known.sort();
                assert_eq!(names, known, "{file}: {set}");
                for (name, spec) in tensors {
                    let tensor = &checkpoint.tensors()[name];
                    let shape: Vec<usize> = serde_json::from_value(spec["shape"].clone()).unwrap();
                    assert_eq!(tensor.shape(), shape, "{file}: {name}");
                    let element = match spec["dtype"].as_str().unwrap() {
                        "float32" => ElementType::F32,
                        "int64" => ElementType::I64,
                        other => panic!("{other}"),
                    };
                    assert_eq!(tensor.element_type(), element, "{file}: {name}");
                    let values = groundling_testkit::Array::from_json(&spec["values"]).to_f32();
                    assert_eq!(tensor.read_f32().unwrap(), values, "{file}: {name}");
                    read += 1;
                }
            }
            assert!(read > 4, "{file}: {read} tensors");
            // Two networks of equal standing: nobody guesses.
            let error = Checkpoint::open(&path, &Limits::default()).unwrap_err();
            let CheckpointError::Ambiguous { candidates, .. } = &error else { panic!("{error}") };
            assert_eq!(candidates, &["bert_model", "model"]);
        }
    }
}
