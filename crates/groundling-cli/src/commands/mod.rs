//! What the commands do. Each takes its arguments as typed, turns them into what the libraries need, and prints a result.

mod analyze;
mod bench;
mod calibrate;
mod charts;
mod convert;
mod data;
mod detect;
mod doctor;
mod eval;
mod evaluate;
mod evaluate_objects;
mod ground;
mod models;
mod samples;
mod train;
mod usual;

use clap::CommandFactory;

pub(crate) use analyze::NothingError;

use crate::Outcome;
use crate::flags::{Command, Data, Flags, Format};

pub(crate) fn run(flags: Flags) -> anyhow::Result<Outcome> {
    let format = if flags.json { Format::Json } else { flags.format };
    match flags.command {
        Command::Ground(ground) => ground::run(&ground, format, flags.quiet),
        Command::Detect(detect) => detect::run(&detect, format, flags.quiet),
        Command::Data(Data::Make(make)) => data::make(&make, format, flags.quiet),
        Command::Data(Data::Check { path }) => data::check(&path, format),
        Command::Data(Data::Sheet(sheet)) => data::sheet(&sheet, format),
        Command::Data(Data::Truth(truth)) => data::truth(&truth, flags.quiet),
        Command::Eval(eval) => eval::run(&eval, format, flags.quiet),
        Command::Calibrate(calibrate) => calibrate::run(&calibrate, format, flags.quiet),
        Command::Analyze(analyze) => analyze::run(&analyze, format, flags.quiet),
        Command::Models(models) => models::run(&models, format),
        Command::Convert(convert) => convert::run(&convert, format),
        Command::Bench(bench) => bench::run(&bench, format),
        Command::Doctor(doctor) => doctor::run(&doctor, format),
        Command::Train(train) => train::run(&train, format, flags.quiet),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Flags::command(), "groundling", &mut std::io::stdout());
            Ok(Outcome::Done)
        }
    }
}
