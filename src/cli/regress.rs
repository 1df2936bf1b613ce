use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::{Context, Error, Result};
use crate::print::{note, say};
use crate::report::baseline::{Measured, compare, lacking, read, renew, write};
use crate::report::figures::Data;
use crate::report::summary::metrics;
use crate::results::Manifest;

const EXAMPLES: &str = "\
Examples:
  trompe regress results/detect --baseline baseline.csv --update --repeats results/detect-2
  trompe regress results/detect --baseline baseline.csv";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A results folder
    results: PathBuf,
    /// The baseline: a CSV with columns metric, direction (higher, lower or same is better), value, tolerance, runs
    #[arg(long, value_name = "FILE")]
    baseline: PathBuf,
    /// Write the results' values into the baseline instead of comparing
    #[arg(long)]
    update: bool,
    /// With --update: results of the same experiment with other seeds, from which tolerances are derived; metrics that the
    /// baseline lacks are added
    #[arg(long, value_name = "DIR", num_args = 1.., requires = "update")]
    repeats: Vec<PathBuf>,
}

/// The metrics of a complete results folder.
fn measured(results: &Path) -> Result<Vec<Measured>> {
    if !Manifest::read(results)?.complete {
        return Err(Error::failure(format!(
            "{} is not complete: run its experiment again",
            results.display()
        )));
    }
    Ok(metrics(&Data::read(results)?))
}

impl Arguments {
    /// Refuses repeats that are no further runs of the experiment, and tells those that are the same run again: tolerances
    /// come out too small.
    fn check_repeats(&self) -> Result<()> {
        let (mut seeds, mut folders) = (vec![], vec![]);
        let mut settings = None;
        for folder in std::iter::once(&self.results).chain(&self.repeats) {
            let manifest = Manifest::read(folder)?;
            // All but the seed is to be the same.
            let mut own = manifest.config.clone();
            if let Some(experiment) = own.get_mut("experiment").and_then(|e| e.as_object_mut()) {
                experiment.remove("seed");
            }
            let wrong = |what: String| Error::usage(format!("--repeats: {} {what}", folder.display()));
            if settings.get_or_insert_with(|| own.clone()) != &own {
                return Err(wrong("holds results of another experiment, or of other settings".into()));
            }
            let place = folder.canonicalize().on("find", folder)?;
            if folders.contains(&place) {
                return Err(wrong("is named twice".into()));
            }
            if seeds.contains(&manifest.seed) {
                note!(
                    "note: {} has the seed {} of another folder, so that it says nothing of what seeds do",
                    folder.display(),
                    manifest.seed
                );
            }
            folders.push(place);
            seeds.push(manifest.seed);
        }
        Ok(())
    }

    pub fn run(self) -> Result<()> {
        let metrics = measured(&self.results)?;
        if self.update {
            let old = if self.baseline.is_file() { Some(read(&self.baseline)?) } else { None };
            self.check_repeats()?;
            let repeats = self.repeats.iter().map(|folder| measured(folder)).collect::<Result<Vec<_>>>()?;
            let renewed = renew(&self.baseline, old.as_deref(), &metrics, &repeats)?;
            write(&self.baseline, &renewed)?;
            say!("wrote {}", self.baseline.display());
            let left = lacking(&renewed, &metrics);
            if !left.is_empty() {
                say!("not in it, since no tolerance is known (--repeats adds what all repeats have):");
                left.iter().for_each(|m| say!("  {}", m.metric));
            }
            return Ok(());
        }
        let outcomes = compare(&read(&self.baseline)?, &metrics);
        say!("{:<62} {:>9} {:>9} {:>9}", "metric", "baseline", "found", "tolerance");
        for o in &outcomes {
            let found = o.found.map_or("missing".into(), |v| format!("{v:.4}"));
            let remark = if o.regressed() {
                "  REGRESSED"
            } else if o.expected.gates_nothing() {
                "  gates nothing"
            } else {
                ""
            };
            say!(
                "{:<62} {:>9.4} {found:>9} {:>9.4}{remark}",
                o.expected.metric,
                o.expected.value,
                o.expected.tolerance,
            );
        }
        let idle = outcomes.iter().filter(|o| o.expected.gates_nothing()).count();
        if idle > 0 {
            say!("{idle} of {} rows gate nothing: no value is beyond their tolerance", outcomes.len());
        }
        match outcomes.iter().filter(|o| o.regressed()).count() {
            0 => Ok(()),
            n => Err(Error::failure(format!("{n} of {} metrics regressed", outcomes.len()))),
        }
    }
}
