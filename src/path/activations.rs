//! The activations of many images at many layers.

use crate::progress::Progress;
use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::data::Preprocessing;
use crate::error::Result;
use crate::executor::Executor;
use crate::network::{Focus, Network, Reading};

/// What of a layer's `[C, H, W]` activations is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// The spatial mean of each channel, class tokens apart: C values.
    ChannelMean,
    /// The class token's value in each channel: C values.
    ClassToken,
    /// Every activation: C·H·W values.
    Full,
}

impl Reduction {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::ChannelMean => "channel-mean",
            Self::ClassToken => "class-token",
            Self::Full => "full",
        }
    }
}

impl Reduction {
    /// The part of each layer's maps that counts; none where all does.
    pub(crate) fn readings(self, network: &Network, layers: &[String]) -> Result<Vec<Option<Reading>>> {
        let focus = match self {
            Self::ChannelMean => Some(Focus::Mean),
            Self::ClassToken => Some(Focus::ClassToken),
            Self::Full => None,
        };
        layers.iter().map(|layer| focus.map(|focus| focus.on(network, layer)).transpose()).collect()
    }
}

/// For each layer the activation vector of each image, in order.
///
/// # Errors
/// Usage, if a layer is unknown, or has no class token where that is compared; an interruption.
pub fn capture(
    network: &Network,
    preprocessing: &Preprocessing,
    images: &[&RgbImage],
    layers: &[String],
    reduction: Reduction,
    executor: &Executor,
    bar: &Progress,
) -> Result<Vec<Vec<Vec<f32>>>> {
    let readings = reduction.readings(network, layers)?;
    let mut all = vec![Vec::with_capacity(images.len()); layers.len()];
    let rows = executor.run_images(images, bar, |chunk| {
        let input = Preprocessing::tensor(chunk.iter().copied(), executor.device());
        let maps = network.capture(preprocessing.apply(input), layers)?;
        let mut rows = vec![Vec::with_capacity(layers.len()); chunk.len()];
        for (map, reading) in maps.into_iter().zip(&readings) {
            let map = match reading {
                Some(reading) => reading.of(map),
                None => map,
            };
            let values: Vec<f32> = map.into_data().try_to_vec().expect("activations are 32-bit floats");
            for (row, values) in rows.iter_mut().zip(values.chunks(values.len() / chunk.len())) {
                row.push(values.to_vec());
            }
        }
        Ok(rows)
    })?;
    for row in rows {
        for (layer, values) in all.iter_mut().zip(row) {
            layer.push(values);
        }
    }
    Ok(all)
}
