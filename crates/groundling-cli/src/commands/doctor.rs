//! `groundling doctor`: what keeps this program from working well.

use std::fmt::Write as _;
use std::time::Instant;

use groundling::{Bundle, Classifier, DetectOptions, Detector, Grounder, Options, Settings, device, systems};
use groundling_data::text::wordpiece::WordPiece;
use groundling_kernels::Isa;
use serde::Serialize;

use crate::flags::{Doctor, Format};
use crate::{Outcome, output};

#[derive(Serialize)]
struct Diagnosis {
    schema: &'static str,
    version: &'static str,
    healthy: bool,
    checks: Vec<Check>,
}

#[derive(Serialize)]
struct Check {
    name: &'static str,
    fine: bool,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// What a check finds, or what is wrong.
type Finding = anyhow::Result<String>;

pub(crate) fn run(flags: &Doctor, format: Format) -> anyhow::Result<Outcome> {
    flags.model.set_threads()?;
    let mut checks = vec![
        check("build", Ok(build())),
        check("processor", Ok(processor())),
        check("devices", devices(flags)),
        check("vocabulary", vocabulary()),
    ];
    let bundle = flags.model.bundle();
    match bundle {
        Err(error) => checks.push(check("weights", Err(error))),
        Ok(bundle) => {
            checks.push(check("weights", weights(&bundle)));
            checks.push(check("answer", answer(flags, &bundle)));
        }
    }
    let healthy = checks.iter().all(|check| check.fine);
    let diagnosis = Diagnosis { schema: "groundling.doctor/1", version: env!("CARGO_PKG_VERSION"), healthy, checks };
    output::result(format, &diagnosis, || text(&diagnosis))?;
    Ok(if healthy { Outcome::Done } else { Outcome::Negative })
}

fn check(name: &'static str, finding: Finding) -> Check {
    match finding {
        Ok(found) => Check { name, fine: true, found, hint: None },
        Err(error) => Check { name, fine: false, found: format!("{error:#}"), hint: output::hint(&error) },
    }
}

fn build() -> String {
    let profile = if cfg!(debug_assertions) { "debug: slow, build with --release to use it" } else { "release" };
    format!(
        "version {}, {profile}, {}-{}, devices built in: {}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        std::env::consts::OS,
        device::built().join(", ")
    )
}

fn processor() -> String {
    let best = Isa::available().last().copied().unwrap_or(Isa::Portable);
    let used = Isa::detect();
    let name = |isa: Isa| format!("{isa:?}").to_lowercase();
    let lowered = if used < best { format!(" (GROUNDLING_ISA holds back {})", name(best)) } else { String::new() };
    format!("kernels for {}{lowered}, {} threads", name(used), rayon::current_num_threads())
}

fn devices(flags: &Doctor) -> Finding {
    let chosen = flags.model.device.open()?;
    let found: Vec<String> =
        device::available().into_iter().map(|(choice, name)| format!("{choice} = {name}")).collect();
    Ok(format!("{} is {chosen:?}; found {}", flags.model.device, found.join(", ")))
}

fn vocabulary() -> Finding {
    let words = WordPiece::bert_base_uncased();
    let hash = groundling::hash::of_vocabulary(&words);
    Ok(format!("bert-base-uncased, {} pieces, sha256 {}", words.len(), &hash[..12]))
}

fn weights(bundle: &Bundle) -> Finding {
    let start = Instant::now();
    bundle.verify()?;
    let manifest = bundle.manifest();
    Ok(format!(
        "{} ({}), {} numbers in {}, sha256 {} as stated, checked in {:.0} ms",
        manifest.name,
        bundle.place(),
        manifest.weights.parameters,
        manifest.weights.precision,
        manifest.weights.sha256.get(..12).unwrap_or_default(),
        start.elapsed().as_secs_f64() * 1e3
    ))
}

/// Opens the model and asks it something: the numbers must be finite and the same twice.
fn answer(flags: &Doctor, bundle: &Bundle) -> Finding {
    let start = Instant::now();
    let settings = Settings { device: flags.model.device, ..Settings::default() };
    let image = image::RgbImage::from_fn(96, 64, |x, y| image::Rgb([(x * 2) as u8, (y * 3) as u8, 120]));
    if systems::DETECTORS.contains(&bundle.manifest().system.as_str()) {
        let detector = Detector::open_with(bundle, settings)?;
        let found = || Ok(detector.detect(&image, &DetectOptions::default())?);
        return twice(start, found, |found| found.flops);
    }
    if systems::CLASSIFIERS.contains(&bundle.manifest().system.as_str()) {
        let classifier = Classifier::open_with(bundle, settings)?;
        return twice(start, || Ok(classifier.classify(&image, 5)?), |found| found.flops);
    }
    let grounder = Grounder::open_with(bundle, settings)?;
    let session = grounder.open_image(&image)?;
    let answer = || Ok(session.ground_with("the red cup", &Options::default())?);
    twice(start, answer, |answer| answer.flops)
}

fn twice<A: PartialEq>(start: Instant, ask: impl Fn() -> anyhow::Result<A>, flops: impl Fn(&A) -> u64) -> Finding {
    let opened = start.elapsed().as_secs_f64() * 1e3;
    let first = ask()?;
    let start = Instant::now();
    let second = ask()?;
    let again = start.elapsed().as_secs_f64() * 1e3;
    if first != second {
        anyhow::bail!("the same question was answered differently the second time");
    }
    Ok(format!("opened in {opened:.0} ms, answered in {again:.1} ms, {:.3} GFLOPs", flops(&second) as f64 / 1e9))
}

fn text(diagnosis: &Diagnosis) -> String {
    let mut text = String::new();
    for Check { name, fine, found, hint } in &diagnosis.checks {
        let mark = if *fine { "ok   " } else { "WRONG" };
        // Writing to a text does not fail.
        let _ = writeln!(text, "{mark}  {name:10}  {found}");
        if let Some(hint) = hint {
            let _ = writeln!(text, "       {:10}  hint: {hint}", "");
        }
    }
    text.push_str(if diagnosis.healthy { "all is well" } else { "something is wrong" });
    text
}
