use std::path::{Path, PathBuf};

use clap::Args;

use super::own::Own;
use super::{Common, RUN, run_file};
use crate::config::Network;
use crate::detect::{Plan, audit};
use crate::device::Kind;
use crate::error::{Context, Error, Result};
use crate::files;
use crate::network;
use crate::print::{note, say};
use crate::report;
use crate::report::figures::Data;
use crate::report::summary::audit_words;
use crate::visualize::Unit;

const EXAMPLES: &str = "\
Examples:
  trompe audit resnet18.onnx --images photos
  trompe audit lies.safetensors --layers bn8 --units 16 --reference honest-*.safetensors";

#[derive(Args)]
#[command(after_help = EXAMPLES, mut_arg("network", |network| network.hide(true)))]
pub struct Arguments {
    /// The network: a file that `train` or `fool` saved, or one like it
    #[arg(value_name = "NETWORK")]
    audited: PathBuf,
    /// The experiment file, or the name of one that comes with the program: its natural images, preprocessing and visualization settings are used
    /// [default: configs/detect.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Honest networks of the same architecture, which say how suspicious an honest network may look; it takes 19 of them to
    /// promise 5 %
    #[arg(long, value_name = "FILE", num_args = 1..)]
    reference: Vec<PathBuf>,
    /// Judges each of these networks, NETWORK with them, by the others: which of them stands out?
    #[arg(long, requires = "reference")]
    calibrate: bool,
    /// The layers whose units are audited [default: those of the experiment's detect.cases, if the network has them]
    #[arg(long, value_name = "LAYER", value_delimiter = ',')]
    layers: Vec<String>,
    /// A unit, as layer:channel, that is looked at in any case; may be given several times
    #[arg(long = "unit", value_name = "UNIT")]
    named: Vec<Unit>,
    /// How many units of each layer, drawn at random
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    units: u32,
    #[command(flatten)]
    own: Own,
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
        let chosen = self.own.choose(self.config, "configs/detect.toml", &self.common)?;
        chosen.with_images("an audit looks at natural images")?;
        let own = chosen.own;
        let file = self.common.network.clone().expect("the audited network");
        let network =
            network::Network::open_up_to(&file, self.common.output.as_deref(), &Kind::Flex.open()?)?;
        let mut layers = vec![];
        for layer in &self.layers {
            layers.push(network.graph().find(layer)?.to_string());
        }
        let mut units = self.named;
        for unit in &mut units {
            unit.layer = network.graph().find(&unit.layer)?.to_string();
            if !layers.contains(&unit.layer) {
                layers.push(unit.layer.clone());
            }
        }
        if layers.is_empty() && chosen.own {
            layers = some(&chosen.experiment.paths.layers);
            note!("note: {} are audited; name others with --layers", layers.join(", "));
        }
        let mut references = vec![];
        for file in self.reference {
            let file = std::path::absolute(&file).on("find", &file)?;
            super::utf8(&file)?;
            references.push(Network { output: self.common.output.clone(), ..Network::in_file(file) });
        }
        let plan =
            Plan { layers, units: self.units as usize, named: units, references, calibrate: self.calibrate };
        let (experiment, setting) = self.common.prepare(chosen, Some(out), plan.layers.clone())?;
        let manifest = audit(&experiment, &plan, &setting)?.complete(report::draw)?;
        super::print_notes(&manifest);
        let data = Data::read(&setting.out)?;
        say!(
            "{:>4} {:<30} {:>10} {:<12} {:>10} {:>17}",
            "",
            "unit",
            "suspicion",
            "detector",
            "p-value",
            "all of the layer"
        );
        let percent = |v: Option<f64>| v.map_or("unknown".into(), |v| format!("{:.1} %", 100.0 * v));
        for (i, s) in data.suspects.iter().take(20).enumerate() {
            let unit = format!("{}:{}", s.layer, s.channel);
            let (p, q) = (percent(s.p_value), percent(s.q_value));
            say!("{:>4} {unit:<30} {:>10.1} {:<12} {p:>10} {q:>17}", i + 1, s.suspicion, s.detector);
        }
        say!("");
        for line in audit_words(&data) {
            say!("{line}");
        }
        if own {
            files::write(&setting.out.join(RUN), run_file(&experiment).as_bytes())?;
        }
        say!("\nreport: {}", setting.out.join("report.html").display());
        Ok(())
    }
}

/// Three layers of those to compare: from early to late.
fn some(layers: &[String]) -> Vec<String> {
    let at = |share: usize| layers[(share * (layers.len() - 1)).div_ceil(3)].clone();
    let mut all = vec![at(1), at(2), at(3)];
    all.dedup();
    all
}
