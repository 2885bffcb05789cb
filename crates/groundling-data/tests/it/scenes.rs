use groundling_data::scenes::{SceneConfig, Scenes, Split, resolve};

#[test]
fn smoke() {
    for split in Split::ALL {
        let scenes = Scenes::new(SceneConfig::default(), split, 3).unwrap();
        for index in 0..50 {
            let scene = scenes.scene(index);
            for e in &scene.expressions {
                println!("{:?} {} {:?}", e.kind, e.phrase, e.targets);
                assert_eq!(resolve(&e.phrase, &scene).as_ref(), Ok(&e.targets), "{} {}", scene.id, e.phrase);
            }
        }
    }
}
