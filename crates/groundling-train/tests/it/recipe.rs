//! Recipes that people write.

use groundling_train::recipe::{Recipe, RecipeError, system_of};

use crate::toy::{Config, Criterion, RECIPE, recipe};

fn error(text: &str, overrides: &[&str]) -> String {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    Recipe::<Criterion>::parse(text, "toy.toml", &overrides).unwrap_err().to_string()
}

#[test]
fn mistakes_are_named_with_their_place() {
    let with = |from: &str, to: &str| RECIPE.replace(from, to);
    for (text, expected) in [
        (with("lr = 0.01", "rate = 0.01"), "toy.toml:17: unknown field `rate`, expected one of `lr`, `betas`"),
        (with("noise = 0.02", "nose = 0.02"), "toy.toml:23: unknown field `nose`, expected one of `lambda`, `poison`"),
        (with("steps = 20", "steps = \"many\""), "toy.toml:13: invalid type: string \"many\""),
        (with("steps = 20", ""), "schedule.steps is missing, expected steps or epochs"),
        (with("steps = 20", "steps = 20\nepochs = 3"), "schedule.epochs is given beside steps"),
        (with("batch = 6", "batch = 0"), "schedule.batch is 0, expected 1 or more"),
        (with("mirror = 0.5", "mirror = 1.5"), "augmentation.mirror is 1.5, expected a number from 0 to 1"),
        (with("[output]", "[[stage]]\nuntil = 0.5\n[[stage]]\nuntil = 0.5\n[output]"), "stage.1.until is 0.5"),
        (
            with("[output]", "[[stage]]\nuntil = 0.5\ncriterion = { lambada = 1 }\n[output]"),
            "stage.0.criterion: unknown field `lambada`",
        ),
        (with("[model]", "[model"), "toy.toml:2: "),
    ] {
        let found = error(&text, &[]);
        assert!(found.contains(expected), "{found}\n  expected: {expected}");
    }
}

#[test]
fn checkpoints_are_one_or_a_list() {
    let from = |changes: &[&str]| recipe(changes).model;
    assert_eq!(from(&["model.from=a.pth"]).from, [std::path::PathBuf::from("a.pth")]);
    let two = from(&["model.from=['a.pth', 'b.bin']", "model.layout=['detr', 'bert']"]);
    assert_eq!((two.from.len(), two.layout), (2, vec!["detr".to_owned(), "bert".to_owned()]));
    // One is written as it was before there were lists, so that older runs go on.
    let written = recipe(&["model.from=a.pth"]).to_toml().unwrap();
    assert!(written.contains("from = \"a.pth\"\n"), "{written}");
    let found = error(RECIPE, &["model.from=['a', 'b']", "model.layout=detr"]);
    assert!(
        found.contains("model.layout is a list of 1, expected none, or one for each entry of model.from"),
        "{found}"
    );
    assert!(error(RECIPE, &["model.from=3"]).contains("expected a text, or a list of texts"));
}

#[test]
fn overrides_are_checked_one_by_one() {
    let found = recipe(&[
        "schedule.batch=8",
        "data.0.source=scenes:train:9",
        "optimizer.betas=[0.8, 0.9]",
        "criterion.lambda=2",
    ]);
    assert_eq!((found.schedule.batch, found.data[0].source.as_str()), (8, "scenes:train:9"));
    assert_eq!((found.optimizer.betas, found.criterion.lambda), ([0.8, 0.9], 2.0));
    for (change, expected) in [
        ("schedule.speed=3", "override \"schedule.speed=3\": unknown field `speed`, expected one of `steps`"),
        ("schedule.batch", "override \"schedule.batch\": expected dotted.key=value"),
        ("data.3.weight=1", "data.3.weight is 3, expected an index below 1"),
        ("schedule.batch=few", "override \"schedule.batch=few\": invalid type: string \"few\""),
    ] {
        let found = error(RECIPE, &["optimizer.lr=1", change]);
        assert!(found.contains(expected), "{found}\n  expected: {expected}");
    }
}

#[test]
fn the_resolved_recipe_says_everything_and_means_the_same() {
    let mut first = recipe(&["model.config.side=48"]);
    let config = first.resolve(&Config { side: 32, max_ids: 12 }).unwrap();
    assert_eq!(config, Config { side: 48, max_ids: 12 });
    let text = first.to_toml().unwrap();
    for key in ["max_ids = 12", "weight_decay = 0.01", "accumulation = 1", "poison = 2.0", "workers = 1"] {
        assert!(text.contains(key), "{key} is missing in\n{text}");
    }
    assert_eq!(Recipe::<Criterion>::parse(&text, "resolved", &[]).unwrap(), first);
    let mut wrong = recipe(&["model.config.sides=48"]);
    let found = wrong.resolve(&config).unwrap_err().to_string();
    assert_eq!(found, "model.config.sides is 48, expected one of `max_ids`, `side`");
    assert_eq!(system_of(&text, "resolved").unwrap(), "toy");
    assert!(matches!(system_of("[model]", "x"), Err(RecipeError::Parse { .. })));
}

#[test]
fn stages_change_the_criterion_and_move_it() {
    let stages = "
        [[stage]]
        until = 0.2
        criterion = { lambda = 0, noise = 1 }
        [[stage]]
        until = 0.6
        criterion = { lambda = 3 }
        anneal = true
        [output]";
    let text = RECIPE.replace("[output]", stages);
    let recipe = Recipe::<Criterion>::parse(&text, "toy.toml", &["criterion.lambda=1".to_owned()]).unwrap();
    let at = |share: f64| {
        let Criterion { lambda, noise, .. } = recipe.criterion_at(share).unwrap();
        (lambda, noise)
    };
    assert_eq!((at(0.0), at(0.19)), ((0.0, 1.0), (0.0, 1.0)));
    assert_eq!(at(0.2), (3.0, 0.02));
    let middle = at(0.4);
    assert!((middle.0 - 2.0).abs() < 1e-12, "half way from 3 to 1: {middle:?}");
    assert_eq!((at(0.6), at(1.0)), ((1.0, 0.02), (1.0, 0.02)));
    let broadest = recipe.broadest_criterion().unwrap();
    assert_eq!(
        broadest,
        Criterion { lambda: 3.0, noise: 1.0, poison: 2.0 },
        "what some stage needs is there from the start"
    );
}
