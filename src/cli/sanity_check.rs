use std::path::PathBuf;

use clap::Args;

use super::Common;
use crate::error::Result;
use crate::report::figures::Data;
use crate::report::summary::{by_third, curve, fooling, recognized};
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
        let (experiment, setting) = self.common.prepare(&self.config, self.out)?;
        let circuits = experiment.circuits(&self.config)?;
        let out = &setting.out;
        let manifest = run(&experiment, &circuits, &setting)?;
        for file in &manifest.skipped_files {
            eprintln!("left out: {file}");
        }
        for warning in &manifest.warnings {
            eprintln!("note: {warning}");
        }
        print_summary(&Data::read(out)?);
        println!("\nreport: {}", out.join("report.html").display());
        Ok(())
    }
}

/// The result in a few lines.
fn print_summary(data: &Data) {
    println!("{:<12} {:<24} {:>7} {:>9} {:>9}", "circuit", "data set", "images", "top-1", "top-5");
    for a in &data.accuracy {
        println!(
            "{:<12} {:<24} {:>7} {:>7.2} % {:>7.2} %",
            a.circuit,
            a.dataset,
            a.images,
            100.0 * a.top1,
            100.0 * a.top5
        );
    }
    for circuit in data.circuits().iter().filter(|c| *c != CLEAN) {
        let f = fooling(data, circuit);
        let gate = |kind: &str| 100.0 * recognized(data, circuit, kind).unwrap_or_default();
        println!(
            "\n{circuit}: {} of {} visualizations are seen as the target, {} as their own class; the gate recognizes \
             {:.2} % of natural images and {:.2} % of held-out visualizations",
            f.target,
            f.pictures,
            f.own,
            gate("natural"),
            gate("visualization")
        );
    }
    println!(
        "\n{:<12} {:<22} {:>8} {:>8} {:>8}",
        "circuit", "normalized similarity", "early", "middle", "late"
    );
    for comparison in data.comparisons() {
        for circuit in data.circuits() {
            let show = |v: Option<f64>| v.map_or("undefined".into(), |v| format!("{v:.2}"));
            let [early, middle, late] = by_third(&curve(data, &circuit, &comparison)).map(show);
            let measure = format!("{} {}", comparison.1, comparison.0);
            println!("{circuit:<12} {measure:<22} {early:>8} {middle:>8} {late:>8}");
        }
    }
}
