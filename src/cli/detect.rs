use std::path::PathBuf;

use clap::Args;

use super::Common;
use super::own::Chosen;
use crate::circuit::Circuit;
use crate::detect;
use crate::error::{Error, Result};
use crate::print::say;
use crate::report;
use crate::report::figures::Data;
use crate::tables::ENOUGH;

const EXAMPLES: &str = "\
Example:
  trompe detect --config detect-small";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The experiment file, or the name of one that comes with the program; its `[detect]` says which circuits, layers and units
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    common: Common,
    /// Results folder [default: results/<name of the experiment>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Arguments {
    pub fn run(self) -> Result<()> {
        let chosen = Chosen::read(&self.config, false, &self.common)?;
        let cases = chosen.experiment.detect.iter().flat_map(|detect| &detect.cases);
        let circuits = Circuit::beside(&chosen.file, cases.map(|case| &case.circuit))?;
        let layers = circuits.iter().flat_map(|circuit| circuit.header().hidden_layers.to_vec()).collect();
        let (experiment, setting) = self.common.prepare(chosen, self.out, layers)?;
        if experiment.detect.is_none() {
            return Err(Error::usage(format!("{}: there is no [detect]", self.config.display())));
        }
        let manifest = detect::run(&experiment, &circuits, &setting)?.complete(report::draw)?;
        super::print_notes(&manifest);
        print_summary(&Data::read(&setting.out)?);
        say!("\nreport: {}", setting.out.join("report.html").display());
        Ok(())
    }
}

/// The areas under the ROC curves, all layers together, with their intervals, the paired areas, and finds with the
/// false-positive rate that they are at.
fn print_summary(data: &Data) {
    say!(
        "{:<24} {:<11} {:<10} {:>5} {:>14} {:>7} {:>14} {:>6} {:>5}",
        "circuit",
        "detector",
        "method",
        "AUC",
        "95 % interval",
        "paired",
        "95 % interval",
        "found",
        "at"
    );
    let number = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.2}"));
    let interval = |low: Option<f64>, high: Option<f64>| match (low, high) {
        (Some(_), Some(_)) => format!("{} to {}", number(low), number(high)),
        _ => "-".into(),
    };
    for d in data.detection.iter().filter(|d| d.pooled()) {
        say!(
            "{:<24} {:<11} {:<10} {:>5} {:>14} {:>7} {:>14} {:>6} {:>5}",
            d.circuit,
            d.detector,
            d.method,
            number(d.auc),
            interval(d.lower, d.upper),
            number(d.paired),
            interval(d.paired_lower, d.paired_upper),
            number(d.true_positives),
            d.rate()
        );
    }
    say!(
        "\nAUC: fooled units against others of their layer; paired: by how much each scores above itself in the honest network."
    );
    say!("By layer: detection.csv and the report.");
    if data.detection.iter().any(|d| d.too_few().is_some()) {
        say!(
            "Of fewer than {ENOUGH} clean units in a layer 5 % can't be measured: found are then those that score above all of \
             them, with the false positives that are to be expected."
        );
    }
}
