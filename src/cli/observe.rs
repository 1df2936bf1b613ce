use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::{Error, Result};
use crate::print::say;
use crate::tables::{self, CLEAN};
use crate::trials::tables::{Accuracy, Trust};
use crate::trials::{Plan, report, responses};

const EXAMPLES: &str = "\
Example:
  trompe observe results/trials";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A study's folder, as `trials` made it
    study: PathBuf,
    /// Responses to score, JSON lines; may be given several times [default: all in the study's folder]
    #[arg(long, value_name = "FILE")]
    responses: Vec<PathBuf>,
}

impl Arguments {
    pub fn run(self) -> Result<()> {
        let plan = Plan::read(&self.study)?;
        let files = match self.responses.is_empty() {
            true => responses::files(&self.study)?,
            false => self.responses,
        };
        let all = responses::read(&self.study, &files, &plan)?;
        if all.is_empty() {
            return Err(Error::usage(format!(
                "there are no responses to score in {}: give --responses, or take part with `trompe serve`",
                match &files[..] {
                    [only] => only.display().to_string(),
                    _ => self.study.join(responses::FOLDER).display().to_string(),
                }
            )));
        }
        report::write(&self.study, &plan, &all)?;
        print_summary(&self.study)?;
        say!("\nreport: {}", self.study.join("report.html").display());
        Ok(())
    }
}

/// The result in a few lines.
pub(super) fn print_summary(study: &Path) -> Result<()> {
    let accuracy: Vec<Accuracy> = tables::read(study)?;
    say!("{:<32} {:<14} {:>9} {:>8}  95 % interval", "observer", "task", "questions", "right");
    for a in accuracy
        .iter()
        .filter(|a| a.circuit == CLEAN && a.purpose == "main" && a.depth == "all" && a.by == "all")
    {
        say!(
            "{:<32} {:<14} {:>9} {:>6.1} %  {:.1} to {:.1} %",
            a.observer,
            a.task,
            a.questions,
            100.0 * a.accuracy,
            100.0 * a.lower,
            100.0 * a.upper
        );
    }
    let trust: Vec<Trust> = tables::read(study)?;
    if !trust.is_empty() {
        say!(
            "\n{:<32} {:<14} {:<12} {:<10} {:>8}  95 % interval",
            "observer",
            "task",
            "circuit",
            "shown",
            "right"
        );
    }
    for t in trust.iter().filter(|t| t.kind != "simulated") {
        say!(
            "{:<32} {:<14} {:<12} {:<10} {:>6.1} %  {:.1} to {:.1} %",
            t.observer,
            t.task,
            t.circuit,
            t.shown,
            100.0 * t.accuracy,
            100.0 * t.lower,
            100.0 * t.upper
        );
    }
    Ok(())
}
