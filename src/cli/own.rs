//! Which experiment a command is about: that of a file, of one that comes with the program, or of a network from elsewhere, of
//! which the command line says what is needed.

use std::path::{Path, PathBuf};

use clap::Args;

use super::Common;
use crate::config::{self, Experiment};
use crate::data::{ChannelOrder, Preset, Resize, Size};
use crate::device::Kind;
use crate::error::{Error, Result};
use crate::network::{self, Network};
use crate::print::note;

/// What is said of a network from elsewhere in the place of an experiment file.
#[derive(Args, Default)]
pub(super) struct Own {
    /// How images are prepared for a network from elsewhere, in the place of an experiment file [default: imagenet]
    #[arg(long, value_enum, conflicts_with = "config")]
    preset: Option<Preset>,
    /// Size of the images in pixels, as 224, or as 64x128, width first [default: what the network's file says, or 224]
    #[arg(long, value_name = "SIZE", conflicts_with = "config", value_parser = size)]
    size: Option<Size>,
    /// Natural images: a folder with a folder for each class, or of pictures alone where nothing is asked of classes
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    images: Option<PathBuf>,
    /// Which output each folder of a class is, where that is not their order: a table with the columns index,wnid,name
    #[arg(long, value_name = "FILE", requires = "images")]
    classes: Option<PathBuf>,
}

/// A size that visualizations can have.
fn size(text: &str) -> Result<Size, String> {
    let size: Size = text.parse()?;
    match size.dims().iter().all(|side| (8..=4096).contains(side)) {
        true => Ok(size),
        false => Err(format!("sides are from 8 to 4096 pixels, and this is {size}")),
    }
}

/// The experiment that a command is about.
pub(super) struct Chosen {
    pub experiment: Experiment,
    /// Its file; for one that has none, where it would be.
    pub file: PathBuf,
    /// Whether it was made from the command line.
    pub own: bool,
    /// Whether it says where natural images are.
    pub images: bool,
}

impl Own {
    /// The experiment of the file that was given; or of a network that was, if it is from elsewhere; or of `default`, which comes
    /// with the program.
    pub fn choose(self, given: Option<PathBuf>, default: &str, common: &Common) -> Result<Chosen> {
        let said = self.preset.is_some() || self.size.is_some() || self.images.is_some();
        match (&given, &common.network) {
            (None, Some(file)) if said || network::onnx::is_foreign(file) => self.of_network(file, common),
            (None, None) if said => Err(Error::usage(
                "--preset, --size and --images are for a network from elsewhere: name its file",
            )),
            _ => Chosen::read(&given.clone().unwrap_or_else(|| default.into()), given.is_none(), common),
        }
    }

    fn of_network(self, file: &Path, common: &Common) -> Result<Chosen> {
        let file = std::path::absolute(file).map_err(|e| Error::usage(format!("{}: {e}", file.display())))?;
        super::utf8(&file)?;
        let network = Network::open_up_to(&file, common.output.as_deref(), &Kind::Flex.open()?)?;
        let size = self.size.or(network.graph().size.map(Size::of)).unwrap_or(Size::from(224));
        let channels = network.graph().image_channels();
        let preset = match self.preset {
            None if channels == 1 => {
                return Err(Error::usage(format!(
                    "{} takes grey images, and how they are prepared can't be guessed: take --preset unit (0 to 1) or inception \
                     (−1 to 1), or an experiment file with channel_order = \"grey\", mean and std",
                    file.display()
                )));
            }
            preset => preset.unwrap_or(Preset::Imagenet),
        };
        let images = self.images.is_some();
        let own = config::Own { preset, size, channels, images: self.images, classes: self.classes };
        let experiment = own.experiment(&file, &network, &common.data)?;
        let p = &experiment.preprocessing;
        let order = match p.channel_order {
            ChannelOrder::Rgb => "",
            ChannelOrder::Bgr => ", in the order blue, green, red",
            ChannelOrder::Grey => ", grey",
        };
        let times = if p.scale == 1.0 { String::new() } else { format!(" · {}", p.scale) };
        let cut = match p.resize {
            Some(Resize::Shorter(resize)) if images && resize as usize != size.shorter() => {
                format!(" cut out of ones of {resize}")
            }
            _ => String::new(),
        };
        let how = if self.preset.is_some() { "" } else { ", since no --preset says otherwise" };
        note!(
            "note: images are {}x{} pixels{cut}, (pixel{times} − {:?}) / {:?}{order}, pixels in 0..1{how}",
            size.width,
            size.height,
            &p.mean[..channels.min(3)],
            &p.std[..channels.min(3)]
        );
        Ok(Chosen { experiment, file: super::RUN.into(), own: true, images })
    }
}

impl Chosen {
    /// Refuses an experiment without natural images.
    pub fn with_images(&self, why: &str) -> Result<()> {
        match self.images {
            true => Ok(()),
            false => Err(Error::usage(format!("{why}: say where they are with --images DIR"))),
        }
    }

    /// The experiment of a file, or of one of that name that comes with the program. Image size and preprocessing of the
    /// `default` are the embedded network's: another network is told so, and refused where it says that its images are of
    /// another size.
    pub fn read(file: &Path, default: bool, common: &Common) -> Result<Self> {
        let path = config::unpacked(file, false, &common.cache)?;
        let experiment = Experiment::read(&path)?;
        let (true, Some(network)) = (default, &common.network) else {
            return Ok(Self { experiment, file: path, own: false, images: true });
        };
        let Size { width, height } = experiment.visualization.optimization.size;
        let opened = Network::open_up_to(network, common.output.as_deref(), &Kind::Flex.open()?)?;
        match opened.graph().size {
            Some([h, w]) if [h, w] != [height, width] => Err(Error::usage(format!(
                "{} is for images of {w}x{h} pixels, and {}, the default of --config, is for {width}x{height}, with the \
                 preprocessing of the embedded network: say how images are prepared with --preset, or give an experiment file \
                 with --config",
                network.display(),
                file.display()
            ))),
            _ => {
                let p = &experiment.preprocessing;
                note!(
                    "note: images are {width}x{height} pixels, (pixel · {} − {:?}) / {:?}, as {} says; give another experiment \
                     file with --config, or say how images are prepared with --preset",
                    p.scale,
                    p.mean,
                    p.std,
                    file.display()
                );
                Ok(Self { experiment, file: path, own: false, images: true })
            }
        }
    }
}

/// The network and what else a command is given as plain words: whatever is no `LAYER:CHANNEL` before all of those is the file of
/// the network.
pub(super) fn network_first(words: Vec<String>, network: &mut Option<PathBuf>) -> Result<Vec<String>> {
    let is_unit =
        |word: &str| word.rsplit_once(':').is_some_and(|(_, channel)| channel.parse::<usize>().is_ok());
    match words.split_first() {
        Some((first, rest)) if Path::new(first).is_file() => {
            if network.is_some() {
                return Err(Error::usage(format!(
                    "{first} and --network both name a network: leave one out"
                )));
            }
            *network = Some(first.into());
            Ok(rest.to_vec())
        }
        Some((first, _)) if !is_unit(first) => Err(Error::usage(format!(
            "\"{first}\" is neither the file of a network nor a unit: write units as layer:channel, as in conv4:17"
        ))),
        _ => Ok(words),
    }
}
