use std::path::PathBuf;

use clap::Args;

use super::own::Own;
use super::{Common, RUN, run_file};
use crate::circuit::Circuit;
use crate::config::unpacked;
use crate::data::Source;
use crate::error::{Context, Error, Result};
use crate::files;
use crate::print::say;
use crate::report;
use crate::report::figures::Data;
use crate::report::summary::{
    by_third, fooling, hardly_divisible, recognized, resemblance, specific_by_third, surface_words,
};
use crate::sanity_check;
use crate::tables::CLEAN;

const EXAMPLES: &str = "\
Examples:
  trompe sanity-check --config fool
  trompe sanity-check resnet18.onnx --images imagenette/val
  trompe sanity-check --config squeezenet --data DIR --seed 2 --out results/second";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// An ONNX file, or a network that `train` or `fool` saved, with --images in the place of an experiment file
    #[arg(value_name = "NETWORK", required_unless_present = "config")]
    file: Option<PathBuf>,
    /// The experiment file, or the name of one that comes with the program (`trompe configs` lists them)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A circuit file, beside those of the experiment file, or the name of one that comes with the program; may be given several
    /// times
    #[arg(long = "circuit", value_name = "FILE")]
    circuits: Vec<PathBuf>,
    #[command(flatten)]
    own: Own,
    #[command(flatten)]
    common: Common,
    /// Results folder [default: results/<name of the experiment>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Arguments {
    pub fn run(mut self) -> Result<()> {
        if let Some(file) = self.file
            && self.common.network.replace(file).is_some()
        {
            return Err(Error::usage("NETWORK and --network both name a network: leave one out"));
        }
        let mut chosen = self.own.choose(self.config, "configs/fool.toml", &self.common)?;
        chosen.with_images("a sanity check compares visualizations with natural images of each class")?;
        if let (true, Source::Pictures { path }) = (chosen.own, &chosen.experiment.data.validation) {
            return Err(Error::usage(format!(
                "{} holds pictures and no folders of classes: a sanity check compares natural images of each class, so put \
                 those of each into a folder of its own",
                path.display()
            )));
        }
        let mut circuits = Circuit::beside(&chosen.file, &chosen.experiment.circuits)?;
        for circuit in self.circuits {
            let file = unpacked(&circuit, true, &self.common.cache)?;
            circuits.push(Circuit::read(&file)?);
            chosen.experiment.circuits.push(std::path::absolute(&file).on("find", &file)?);
        }
        let own = chosen.own;
        let layers = circuits.iter().flat_map(Circuit::layers).collect();
        let (experiment, setting) = self.common.prepare(chosen, self.out, layers)?;
        let out = &setting.out;
        let manifest = sanity_check::run(&experiment, &circuits, &setting)?.complete(report::draw)?;
        if own {
            files::write(&out.join(RUN), run_file(&experiment).as_bytes())?;
        }
        super::print_notes(&manifest);
        print_summary(&Data::read(out)?);
        say!("\nreport: {}", out.join("report.html").display());
        Ok(())
    }
}

/// The result in a few lines.
fn print_summary(data: &Data) {
    say!("{:<12} {:<24} {:>7} {:>9} {:>9}", "circuit", "data set", "images", "top-1", "top-5");
    for a in &data.accuracy {
        say!(
            "{:<12} {:<24} {:>7} {:>7.2} % {:>7.2} %",
            a.circuit,
            a.dataset,
            a.images,
            100.0 * a.top1,
            100.0 * a.top5
        );
    }
    for a in data.accuracy.iter().filter(|a| a.circuit == CLEAN) {
        if let Some(share) = a.surface {
            say!("{}", surface_words(&a.dataset, share));
        }
    }
    for circuit in data.circuits().iter().filter(|c| *c != CLEAN) {
        let f = fooling(data, circuit);
        say!("");
        if let (Some(target), Some(own)) = (f.target, f.own) {
            say!(
                "{circuit}: {target} of {} visualizations are seen as the target, {own} as their own class",
                f.pictures
            );
        }
        say!("{circuit}: {} of {} are closer to the target than to their own unit", f.closer, f.pictures);
        if let [Some(natural), Some(held_out)] =
            ["natural", "visualization"].map(|k| recognized(data, circuit, k))
        {
            say!(
                "{circuit}: the gate recognizes {:.2} % of natural images that it was not trained on, and {:.2} % of \
                 held-out visualizations",
                100.0 * natural,
                100.0 * held_out
            );
        }
        for b in data.behaviour.iter().filter(|b| b.circuit == *circuit) {
            say!(
                "{circuit}: {} of {} images of {} switch it on, {} predictions change; largest change of a logit where \
                 it is off {:.1e}",
                b.switched,
                b.images,
                b.dataset,
                b.changed_predictions,
                b.largest_logit_change_off
            );
        }
        if let (Some(fooled), Some(honest)) =
            (resemblance(data, circuit, circuit).0, resemblance(data, CLEAN, circuit).0)
        {
            say!(
                "{circuit}: mean similarity of its units' visualizations {fooled:.2}, in the honest network {honest:.2}"
            );
        }
    }
    let line = |first: &str, units: &str, measure: &str, values: [String; 6]| {
        let [a, b, c, d, e, f] = values;
        say!("{first:<12} {units:<18} {measure:<22} {a:>7} {b:>7} {c:>7}   {d:>7} {e:>7} {f:>7}");
    };
    say!("\n{:<54} {:<25} class-specific part", "", "normalized similarity");
    line("circuit", "units of", "", ["early", "middle", "late", "early", "middle", "late"].map(String::from));
    for comparison in data.comparisons() {
        for units in data.layers() {
            for circuit in data.circuits_on(&units) {
                let rows = data.curve(&units, &circuit, &comparison);
                if rows.is_empty() {
                    continue;
                }
                let show = |v: Option<f64>| v.map_or("undefined".into(), |v| format!("{v:.2}"));
                let [[a, b, c], [d, e, f]] = [by_third(&rows), specific_by_third(&rows)].map(|t| t.map(show));
                let measure = format!("{} {}", comparison.1, comparison.0);
                line(&circuit, &units, &measure, [a, b, c, d, e, f]);
            }
        }
    }
    if let Some(comparison) = data.comparisons().first()
        && let Some(units) = data.layer_of(CLEAN)
    {
        let little = hardly_divisible(&data.curve(units, CLEAN, comparison));
        if !little.is_empty() {
            say!(
                "{}: natural images of one class are hardly more alike there than those of different classes; ratios to that \
                 difference say little",
                little.join(", ")
            );
        }
    }
}
