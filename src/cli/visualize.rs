use std::path::PathBuf;

use clap::Args;
use image::RgbImage;

use super::own::{Own, network_first};
use super::{Common, RUN, run_file};
use crate::bounds::distinct;
use crate::config::{self, Experiment};
use crate::data::{Dataset, Preprocessing};
use crate::error::{Error, Result};
use crate::experiment::{Setting, fits, network, room, untrained, visualizable};
use crate::files::{self, Lock};
use crate::network::Network;
use crate::print::{note, say};
use crate::progress;
use crate::report::figures::sheet::{self, Shown, UnitShown};
use crate::report::html;
use crate::visualize::{Direction, Request, Unit, UnitObjective, visualize};

const EXAMPLES: &str = "\
Examples:
  trompe visualize classifier:3 bn8:17
  trompe visualize resnet18.onnx layer3.1:17 fc:207 --images photos
  trompe visualize mixed4a:11 --config mine.toml --number 4 --steps 512";

#[derive(Args)]
#[command(after_help = EXAMPLES, override_usage = "trompe visualize [OPTIONS] [NETWORK] <UNIT>...")]
pub struct Arguments {
    /// Units to visualize, as layer:channel; before them, the file of a network, ONNX or as `train` and `fool` save it. A layer
    /// may be named as PyTorch names its module (layer3.1, layer4[1].conv2), or by an end of its name that no other has
    #[arg(required = true, value_name = "UNIT")]
    words: Vec<String>,
    /// The experiment file, or the name of one that comes with the program: its network, preprocessing and visualization settings are used
    /// [default: configs/fool.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    own: Own,
    #[command(flatten)]
    common: Common,
    /// Visualizations of each unit
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    number: u32,
    /// Optimization steps, instead of the experiment file's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    steps: Option<u32>,
    /// Folder for the pictures, one file each: LAYER_CHANNEL_NUMBER.png, with + for / in a layer's name and =2A for other
    /// characters than letters, digits, ., _ and -
    #[arg(long, value_name = "DIR", default_value = "results/visualizations")]
    out: PathBuf,
}

impl Arguments {
    pub fn run(mut self) -> Result<()> {
        let words = network_first(self.words, &mut self.common.network)?;
        let mut units: Vec<Unit> =
            words.iter().map(|word| word.parse()).collect::<Result<_, String>>().map_err(Error::usage)?;
        if units.is_empty() {
            return Err(Error::usage(
                "name the units to visualize, as layer:channel; `trompe layers` lists the layers",
            ));
        }
        let once = |units: &[Unit]| {
            let names: Vec<String> = units.iter().map(Unit::to_string).collect();
            distinct("the command", &names).map_err(Error::usage)
        };
        once(&units)?;
        let chosen = self.own.choose(self.config, "configs/fool.toml", &self.common)?;
        let own = chosen.own;
        let with_images = own && chosen.images;
        let (mut experiment, setting) = self.common.prepare(chosen, Some(self.out.clone()), vec![])?;
        let untrained = untrained(&experiment, &setting)?;
        for unit in &mut units {
            unit.layer = untrained.graph().find(&unit.layer)?.to_string();
        }
        once(&units)?;
        experiment.named.extend(units.iter().map(|unit| unit.layer.clone()));
        let settings = &mut experiment.visualization.optimization;
        settings.steps = self.steps.map_or(settings.steps, |steps| steps as usize);
        let settings = settings.clone();
        let last = [settings.steps];
        // Mistakes are found before a network is trained.
        fits(&experiment, &untrained, &[])?;
        for unit in &units {
            unit.check(&untrained)?;
            experiment.visualization.focus.on(&untrained, &unit.layer)?;
            visualizable(&settings, &untrained, &unit.layer)?;
            if let Some(before) = untrained.before_softmax(&unit.layer) {
                note!(
                    "note: {} is a softmax, in which a unit wins by what others lose as well: {before}:{} goes into it",
                    unit.layer,
                    unit.channel
                );
            }
        }
        files::folder(&self.out)?;
        let _lock = Lock::take(&self.out, "wait for it, or give another --out")?;
        room(&setting, units.len() * self.number as usize, &settings)?;
        let (network, made_with) = network(&experiment, &setting)?;
        made_with.iter().for_each(|set| note!("{set}"));
        network.notes().iter().for_each(|words| note!("note: {words}"));
        let objective = |unit: &Unit| UnitObjective {
            unit: unit.clone(),
            focus: experiment.visualization.focus,
            direction: experiment.visualization.direction,
        };
        let requests: Vec<Request> = units
            .iter()
            .flat_map(|unit| (0..self.number as usize).map(|index| (objective(unit), index)))
            .map(|(objective, index)| Request { objective, index })
            .collect();
        let bar = progress::bar("visualizing", requests.len() * settings.steps);
        let hidden = progress::Progress::hidden();
        let made = setting.executor.run(&requests, setting.executor.pictures(), &hidden, |chunk| {
            let pre = &experiment.preprocessing;
            let made = visualize(&network, pre, &settings, chunk, &last, experiment.seed, &bar)?;
            // What is finished is kept, whatever comes after.
            let kept = made.into_iter().map(|picture| {
                let Request { objective, index } = &picture.request;
                let name = format!("{}_{index}.png", objective.unit.file_name());
                let path = self.out.join(name);
                files::png(&path, picture.image())?;
                Ok((picture, path))
            });
            kept.collect()
        })?;
        bar.end();
        let natural = match with_images {
            true => strongest(&experiment, &setting, &network, &units)?,
            false => units.iter().map(|_| vec![]).collect(),
        };
        let mut shown: Vec<UnitShown> = vec![];
        for (unit, natural) in units.iter().zip(natural) {
            let of_unit = made.iter().filter(|(picture, _)| picture.request.objective.unit == *unit);
            let visualizations = of_unit.map(|(picture, _)| Shown {
                picture: picture.image().clone(),
                activation: picture.last().activation,
                problem: picture.fault.map(|fault| fault.to_string()),
            });
            shown.push(UnitShown {
                unit: unit.to_string(),
                visualizations: visualizations.collect(),
                natural,
            });
        }
        sheet::draw(&self.out, network.name(), &shown)?;
        let config = config::written(&experiment, "");
        html::visualizations::write(
            &self.out,
            network.name(),
            &shown,
            (settings.steps, experiment.seed),
            &config,
        )?;
        if own {
            files::write(&self.out.join(RUN), run_file(&experiment).as_bytes())?;
        }
        let mut failed = 0;
        for (picture, path) in &made {
            let why = picture.fault.map_or_else(String::new, |fault| format!(" FAILED: {fault}"));
            failed += usize::from(picture.fault.is_some());
            let unit = &picture.request.objective.unit;
            say!("{unit} activation {:.2} {}{why}", picture.last().activation, path.display());
        }
        say!("\npage: {}", self.out.join(html::visualizations::FILE).display());
        match failed {
            0 => Ok(()),
            n => Err(Error::failure(format!(
                "{n} of {} visualizations show nothing of their units",
                made.len()
            ))),
        }
    }
}

/// So many natural images are shown beside a unit's visualizations.
const NATURAL: usize = 5;

/// For each unit the natural images that drive it most, strongest first.
fn strongest(
    experiment: &Experiment,
    setting: &Setting,
    network: &Network,
    units: &[Unit],
) -> Result<Vec<Vec<Shown>>> {
    let Experiment { data, preprocessing, visualization, seed, .. } = experiment;
    let set = Dataset::load(&data.validation, preprocessing, &setting.data, *seed)?;
    note!("{}", set.inventory());
    let images: Vec<&RgbImage> = set.samples.iter().map(|sample| &sample.image).collect();
    let layers: Vec<&str> = units.iter().map(|unit| unit.layer.as_str()).collect();
    let readings =
        layers.iter().map(|layer| visualization.focus.on(network, layer)).collect::<Result<Vec<_>>>()?;
    let bar = progress::bar("natural images", images.len());
    // For each image, each unit's activation.
    let rows = setting.executor.run_images(&images, &bar, |chunk| {
        let input = Preprocessing::tensor(chunk.iter().copied(), setting.executor.device());
        let maps = network.capture(preprocessing.apply(input), &layers)?;
        let mut rows = vec![vec![]; chunk.len()];
        for ((map, reading), unit) in maps.into_iter().zip(&readings).zip(units) {
            let values = reading.of(map.narrow(1, unit.channel, 1)).into_data();
            let values: Vec<f32> = values.try_to_vec().expect("activations are 32-bit floats");
            rows.iter_mut().zip(values).for_each(|(row, value)| row.push(value));
        }
        Ok(rows)
    })?;
    bar.end();
    let sign = if visualization.direction == Direction::Negative { -1.0 } else { 1.0 };
    let of_unit = |unit: usize| {
        let mut order: Vec<usize> = (0..images.len()).collect();
        order.sort_by(|&a, &b| (sign * rows[b][unit]).total_cmp(&(sign * rows[a][unit])));
        let shown =
            |&at: &usize| Shown { picture: images[at].clone(), activation: rows[at][unit], problem: None };
        order.iter().take(NATURAL).map(shown).collect()
    };
    Ok((0..units.len()).map(of_unit).collect())
}
