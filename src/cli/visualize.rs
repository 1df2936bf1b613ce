use std::path::PathBuf;

use anstream::println;
use clap::Args;

use super::Common;
use crate::error::{Context, Result};
use crate::progress;
use crate::sanity_check::network;
use crate::visualize::{Objective, Request, Unit, visualize};

#[derive(Args)]
pub struct Arguments {
    /// Units to visualize, as layer:channel
    #[arg(required = true, value_name = "UNIT")]
    units: Vec<Unit>,
    /// The experiment file: its network, preprocessing and visualization settings are used
    #[arg(long, value_name = "FILE", default_value = "configs/fool.toml")]
    config: PathBuf,
    #[command(flatten)]
    common: Common,
    /// Visualizations of each unit
    #[arg(long, default_value_t = 1, value_name = "N")]
    number: usize,
    /// Optimization steps, instead of the experiment file's
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Folder for the pictures, named by unit
    #[arg(long, value_name = "DIR", default_value = "results/visualizations")]
    out: PathBuf,
}

impl Arguments {
    pub fn run(self) -> Result<()> {
        let (experiment, setting) = self.common.prepare(&self.config, None)?;
        let mut settings = experiment.visualization.optimization.clone();
        settings.steps = self.steps.unwrap_or(settings.steps).max(1);
        let network = network(&experiment, &setting)?;
        for unit in &self.units {
            unit.check(&network)?;
        }
        std::fs::create_dir_all(&self.out).on("create", &self.out)?;
        let requests: Vec<Request> = self
            .units
            .iter()
            .flat_map(|unit| {
                (0..self.number).map(|index| Request {
                    objective: Objective {
                        unit: unit.clone(),
                        focus: experiment.visualization.focus,
                        direction: experiment.visualization.direction,
                    },
                    index,
                })
            })
            .collect();
        let bar = progress::bar("visualizing", requests.len() * settings.steps);
        let hidden = indicatif::ProgressBar::hidden();
        let made = setting.executor.run(&requests, 1, &hidden, |chunk| {
            visualize(
                &network,
                &experiment.preprocessing,
                &settings,
                chunk,
                &[settings.steps],
                experiment.seed,
                &bar,
            )
        })?;
        bar.finish_and_clear();
        for picture in made {
            let Request { objective, index } = &picture.request;
            let name = objective.unit.to_string().replace(['/', ':'], "_");
            let path = self.out.join(format!("{name}_{index}.png"));
            picture.image().save(&path).on("write", &path)?;
            println!("{} activation {:.2} {}", objective.unit, picture.last().activation, path.display());
        }
        Ok(())
    }
}
