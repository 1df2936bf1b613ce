use std::path::PathBuf;

use clap::Args;

use super::Common;
use crate::circuit::Circuit;
use crate::config::Experiment;
use crate::error::Result;
use crate::print::say;
use crate::report::figures::Data;
use crate::report::summary::{by_third, fooling, recognized, resemblance, surface_words};
use crate::report::tables::CLEAN;
use crate::sanity_check::run;

#[derive(Args)]
pub struct Arguments {
    /// The experiment file
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
        let circuits = Experiment::read(&self.config)?.circuits(&self.config)?;
        let layers = circuits.iter().flat_map(Circuit::layers).collect();
        let (experiment, setting) = self.common.prepare(&self.config, self.out, layers)?;
        let out = &setting.out;
        let manifest = run(&experiment, &circuits, &setting)?;
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
    say!(
        "\n{:<12} {:<24} {:<22} {:>8} {:>8} {:>8}",
        "circuit",
        "units of",
        "normalized similarity",
        "early",
        "middle",
        "late"
    );
    for comparison in data.comparisons() {
        for units in data.layers() {
            for circuit in data.circuits_on(&units) {
                let rows = data.curve(&units, &circuit, &comparison);
                if rows.is_empty() {
                    continue;
                }
                let show = |v: Option<f64>| v.map_or("undefined".into(), |v| format!("{v:.2}"));
                let [early, middle, late] = by_third(&rows).map(show);
                let measure = format!("{} {}", comparison.1, comparison.0);
                say!("{circuit:<12} {units:<24} {measure:<22} {early:>8} {middle:>8} {late:>8}");
            }
        }
    }
}
