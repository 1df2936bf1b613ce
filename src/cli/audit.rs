use std::path::{Path, PathBuf};

use clap::Args;

use super::Common;
use crate::config::Network;
use crate::detect::{Plan, audit};
use crate::error::{Context, Error, Result};
use crate::files;
use crate::print::say;
use crate::report::figures::Data;

#[derive(Args)]
pub struct Arguments {
    /// The network: a file that `train` or `fool` saved, or one like it
    #[arg(value_name = "NETWORK")]
    audited: PathBuf,
    /// The experiment file: its natural images, preprocessing and visualization settings are used
    /// [default: configs/detect.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// An honest network of the same architecture, which says how suspicious an honest unit may look
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// The layers whose units are audited [default: those of the experiment's detect.cases, if the network has them]
    #[arg(long, value_name = "LAYER", value_delimiter = ',')]
    layers: Vec<String>,
    /// How many units of each layer, drawn at random
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    units: u32,
    #[command(flatten)]
    common: Common,
    /// Results folder [default: results/audit-<name of the network's file>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Arguments {
    pub fn run(mut self) -> Result<()> {
        if self.common.network.is_some() {
            return Err(Error::usage("the audited network is the first argument: leave --network out"));
        }
        let stem = self.audited.file_stem().unwrap_or_default().to_string_lossy();
        let stem = files::name(&stem);
        let out = self.out.unwrap_or_else(|| Path::new("results").join(format!("audit-{stem}")));
        self.common.network = Some(self.audited);
        let config = super::DefaultConfig("configs/detect.toml").or(self.config, &self.common)?;
        let reference = match self.reference {
            None => None,
            Some(file) => {
                let file = std::path::absolute(&file).on("find", &file)?;
                super::utf8(&file)?;
                Some(Network { output: self.common.output.clone(), ..Network::in_file(file) })
            }
        };
        let plan = Plan { layers: self.layers, units: self.units as usize, reference };
        let (experiment, setting) = self.common.prepare(&config, Some(out), plan.layers.clone())?;
        let manifest = audit(&experiment, &plan, &setting)?;
        super::print_notes(&manifest);
        let data = Data::read(&setting.out)?;
        say!(
            "{:>4} {:<34} {:>10} {:<12} {:>22}",
            "",
            "unit",
            "suspicion",
            "detector",
            "honest units as much"
        );
        for (i, s) in data.suspects.iter().take(20).enumerate() {
            let unit = format!("{}:{}", s.layer, s.channel);
            let rate = s.false_positive_rate.map_or("unknown".into(), |r| format!("{:.1} %", 100.0 * r));
            say!("{:>4} {unit:<34} {:>10.1} {:<12} {rate:>22}", i + 1, s.suspicion, s.detector);
        }
        if let Some(honest) = data.suspects.iter().find_map(|s| s.honest_units) {
            say!("\n{honest} honest units can tell no rate below {:.1} %", 100.0 / (honest as f64 + 1.0));
        }
        say!("\nreport: {}", setting.out.join("report.html").display());
        Ok(())
    }
}
