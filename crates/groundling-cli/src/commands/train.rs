//! `groundling train`: a recipe becomes weights.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use groundling::{DeviceChoice, systems};
use groundling_models::contract::Trainable;
use groundling_models::dmmi::{Dmmi, DmmiConfig};
use groundling_models::focus_detr::{FocusDetr, FocusDetrConfig};
use groundling_models::qrnet::{QrNet, QrNetConfig};
use groundling_models::scalablevit::{ScalableVit, ScalableVitConfig};
use groundling_models::scanformer::{ScanFormer, ScanFormerConfig};
use groundling_models::transvg::{TransVg, TransVgConfig};
use groundling_models::vltvg::{Vltvg, VltvgConfig};
use groundling_train::attention::Supervised;
use groundling_train::classes::Classes;
use groundling_train::log::{EvaluationLine, LOG_FILE, read_lines};
use groundling_train::objects::Objects;
use groundling_train::phrases::Phrases;
use groundling_train::recipe::{Recipe, system_of};
use groundling_train::run::{Control, Event, Job, Observer, Plan, Resume, Summary, plan, train};
use groundling_train::task::{ConfigOf, Figures, Task};
use groundling_viz::chart::{Chart, Plot, Series, XyPlot};
use groundling_viz::{write_atomically, write_png};
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::Value;

use crate::flags::Format;
use crate::flags::train::{ResumeName, Train};
use crate::model::start_threads;
use crate::{Outcome, output, progress};

#[derive(Serialize)]
struct Trained<'a, F> {
    schema: &'static str,
    out: String,
    #[serde(flatten)]
    summary: &'a Summary<F>,
}

#[derive(Serialize)]
struct Planned<'a> {
    schema: &'static str,
    #[serde(flatten)]
    plan: &'a Plan,
}

pub(crate) fn run(flags: &Train, format: Format, quiet: bool) -> anyhow::Result<Outcome> {
    start_threads(flags.threads)?;
    let file = flags.recipe.display().to_string();
    let text = std::fs::read_to_string(&flags.recipe).with_context(|| file.clone())?;
    match system_of(&text, &file)?.as_str() {
        ScanFormer::NAME => run_task::<Phrases<ScanFormer>>(flags, &text, ScanFormerConfig::preset, format, quiet),
        Dmmi::NAME => run_task::<Phrases<Dmmi>>(flags, &text, DmmiConfig::preset, format, quiet),
        TransVg::NAME => run_task::<Supervised<TransVg>>(flags, &text, TransVgConfig::preset, format, quiet),
        Vltvg::NAME => run_task::<Supervised<Vltvg>>(flags, &text, VltvgConfig::preset, format, quiet),
        QrNet::NAME => run_task::<Supervised<QrNet>>(flags, &text, QrNetConfig::preset, format, quiet),
        FocusDetr::NAME => run_task::<Objects>(flags, &text, FocusDetrConfig::preset, format, quiet),
        ScalableVit::NAME => run_task::<Classes>(flags, &text, ScalableVitConfig::preset, format, quiet),
        found => bail!("{file}: there is no system {found:?}, expected one of {:?}", systems::all_names()),
    }
}

fn run_task<T: Task>(
    flags: &Train,
    text: &str,
    preset: impl Fn(&str) -> Option<ConfigOf<T>>,
    format: Format,
    quiet: bool,
) -> anyhow::Result<Outcome> {
    let file = flags.recipe.display().to_string();
    let mut recipe = Recipe::parse(text, &file, &flags.overrides)?;
    let name = recipe.model.preset.clone();
    let preset = preset(&name).with_context(|| format!("{file}: there is no preset {name:?} of {}", T::Model::NAME))?;
    let config = recipe.resolve(&preset)?;
    let stem = flags.recipe.file_stem().unwrap_or_default();
    let out = flags.out.clone().unwrap_or_else(|| Path::new("runs").join(stem));
    let device = flags.device.parse::<DeviceChoice>()?.open()?;
    let resume = match flags.resume {
        ResumeName::Auto => Resume::Auto,
        ResumeName::Required => Resume::Required,
        ResumeName::Never => Resume::Never,
    };
    let job = Job::<T> { recipe, config, device, out: out.clone(), resume };
    if flags.dry_run {
        let plan = plan(job)?;
        output::result(format, &Planned { schema: "groundling.plan/1", plan: &plan }, || plan_text(&plan))?;
        return Ok(Outcome::Done);
    }
    let bar = progress::bar(quiet, 0, "steps");
    let mut watcher = Watcher { bar, out: out.clone(), draw: draw::<T>, header: false };
    let summary = train(job, &mut watcher)?;
    watcher.bar.finish_and_clear();
    draw::<T>(&out)?;
    let trained = Trained { schema: "groundling.trained/1", out: out.display().to_string(), summary: &summary };
    output::result(format, &trained, || summary_text(&summary, &out))?;
    Ok(Outcome::Done)
}

/// Shows progress, prints evaluations as a table and redraws the curves.
struct Watcher {
    bar: ProgressBar,
    out: PathBuf,
    /// Draws the curves of the task.
    draw: fn(&Path) -> anyhow::Result<()>,
    header: bool,
}

impl<F: Figures> Observer<F> for Watcher {
    fn notice(&mut self, event: Event<'_, F>) -> Control {
        match event {
            Event::Start(plan) => {
                self.bar.set_length(plan.steps);
                self.bar.set_position(plan.done);
                self.bar.reset_eta();
                tracing::info!("{}", plan_text(plan));
            }
            Event::Step { step, line } => {
                self.bar.set_position(step);
                if let Some(line) = line {
                    let (loss, rate) = (line.loss, line.samples_per_sec);
                    self.bar.set_prefix(format!("loss {loss:.4}  {rate:.0} samples/s"));
                    tracing::info!(
                        "step {step}: loss {loss:.4}, {rate:.1} samples/s, {:.0} s left",
                        line.remaining_secs
                    );
                }
            }
            Event::Evaluated(line) => self.evaluated(line),
            _ => {}
        }
        Control::Continue
    }
}

impl Watcher {
    fn evaluated<F: Figures>(&mut self, line: &EvaluationLine<F>) {
        let columns = line.figures.columns();
        // Figures of several levels stand in one column: as wide as they are.
        let width = |(heading, value): &(&str, String)| heading.len().max(value.len()).max(7);
        if !self.header {
            self.header = true;
            let headings = columns.iter().map(|column| format!("  {:>width$}", column.0, width = width(column)));
            self.bar.println(format!("    step{}", headings.collect::<String>()));
        }
        let values = columns.iter().map(|column| format!("  {:>width$}", column.1, width = width(column)));
        let best = if line.best { "  best" } else { "" };
        self.bar.println(format!("{:>8}{}{best}", line.step, values.collect::<String>()));
        if let Err(error) = (self.draw)(&self.out) {
            // A run of hours does not end because a picture of it could not be written.
            tracing::warn!("the curves were not drawn: {error:#}");
        }
    }
}

/// Draws the curves of a run's log: losses over steps, accuracy over steps.
fn draw<T: Task>(out: &Path) -> anyhow::Result<()> {
    let log = out.join(LOG_FILE);
    let steps = read_lines(&log, "step").with_context(|| log.display().to_string())?;
    let evaluations = read_lines(&log, "evaluation").with_context(|| log.display().to_string())?;
    let line = |name: &str, lines: &[Value], pointer: &str| {
        let point = |line: &Value| Some((line["step"].as_f64()?, line.pointer(pointer)?.as_f64()?));
        Series::line(name, lines.iter().filter_map(point).collect())
    };
    let mut losses = vec![line("loss", &steps, "/loss")];
    let terms = steps.last().and_then(|line| line["terms"].as_object()).into_iter().flat_map(|terms| terms.keys());
    losses.extend(terms.filter(|name| T::is_main_term(name)).map(|name| line(name, &steps, &format!("/terms/{name}"))));
    write_chart(out, "loss", "loss", losses)?;
    let curves = evaluations.last().map(T::Figures::curves).unwrap_or_default();
    let accuracies = curves.iter().map(|(name, pointer)| line(name, &evaluations, pointer)).collect();
    write_chart(out, "accuracy", "percent", accuracies)
}

fn write_chart(out: &Path, name: &str, label: &str, series: Vec<Series>) -> anyhow::Result<()> {
    let plot = Plot::Xy(XyPlot { series, ..XyPlot::default() });
    let chart = Chart::new(name, plot).labelled("step", label).sized(800.0, 480.0);
    write_atomically(&out.join(format!("{name}.svg")), chart.to_svg().as_bytes())?;
    write_png(&out.join(format!("{name}.png")), &chart.to_png(1.0))?;
    Ok(())
}

fn plan_text(plan: &Plan) -> String {
    let mib = |bytes: u64| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20));
    let memory = &plan.memory;
    let activations = memory.activations_of_sample.map_or("unknown".to_owned(), mib);
    format!(
        "{} parameters, {} steps of {} samples{}\nmemory: weights and gradients {}, states {}, activations {} a sample, \
         in all about {}",
        plan.parameters,
        plan.steps,
        plan.samples_per_step,
        if plan.done > 0 { format!(", going on after step {}", plan.done) } else { String::new() },
        mib(memory.weights),
        mib(memory.states),
        activations,
        memory.total.map_or("unknown".to_owned(), mib),
    )
}

fn summary_text<F: Figures>(summary: &Summary<F>, out: &Path) -> String {
    let mut text = format!(
        "{} of {} steps in {:.0} s of wall clock, {:.0} s of processor time, in {}",
        summary.step,
        summary.plan.steps,
        summary.wall_secs,
        summary.cpu_secs,
        out.display(),
    );
    if let Some((found, step)) = summary.best {
        let name = summary.last.as_ref().map_or("figure", |line| line.figures.best().0);
        text.push_str(&format!("\nbest {name} {found:.2} at step {step}: {}", out.join("best").display()));
    }
    text
}
