//! What a visualization maximizes.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;
use crate::network::Network;

/// One channel of one layer, written `layer:channel`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unit {
    pub layer: String,
    pub channel: usize,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.layer, self.channel)
    }
}

impl FromStr for Unit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (layer, channel) = text
            .rsplit_once(':')
            .ok_or_else(|| format!("\"{text}\" is no unit: write layer:channel, as in conv4:17"))?;
        let channel =
            channel.parse().map_err(|_| format!("in \"{text}\", \"{channel}\" is no channel number"))?;
        Ok(Self { layer: layer.into(), channel })
    }
}

impl Unit {
    /// What a file of it is called: layer and channel.
    pub(crate) fn file_name(&self) -> String {
        format!("{}_{}", files::name(&self.layer), self.channel)
    }

    /// Refuses a unit that the network does not have.
    ///
    /// # Errors
    /// Usage, naming the layers there are or the number of channels.
    pub fn check(&self, network: &Network) -> Result<()> {
        let channels = network.channels(&self.layer)?;
        if self.channel < channels {
            return Ok(());
        }
        Err(Error::usage(format!(
            "unit {self}: layer {} of network {} has channels 0 to {}",
            self.layer,
            network.name(),
            channels - 1
        )))
    }
}

/// Which part of a unit's map counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Focus {
    /// The mean of the whole map.
    #[default]
    Mean,
    /// The neuron at the map's centre.
    Centre,
}

impl Focus {
    /// The activation of every unit, `[N, C, 1, 1]`, in maps `[N, C, H, W]`.
    pub fn of(self, maps: Tensor<4>) -> Tensor<4> {
        let [_, _, h, w] = maps.dims();
        match self {
            Self::Mean => maps.mean_dims(&[2, 3]),
            Self::Centre => maps.narrow(2, h / 2, 1).narrow(3, w / 2, 1),
        }
    }
}

/// Whether the unit is driven up or down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    #[default]
    Positive,
    Negative,
}

/// What is maximized: a unit, where in its map, and in which direction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    pub unit: Unit,
    #[serde(default)]
    pub focus: Focus,
    #[serde(default)]
    pub direction: Direction,
}

impl Objective {
    /// The unit's activation `[1]` in one image's maps `[1, C, H, W]` of its layer.
    pub fn activation(&self, maps: Tensor<4>) -> Tensor<1> {
        let [_, _, h, w] = maps.dims();
        let map = maps.narrow(1, self.unit.channel, 1);
        match self.focus {
            Focus::Mean => map.mean(),
            Focus::Centre => map.narrow(2, h / 2, 1).narrow(3, w / 2, 1).sum(),
        }
    }

    /// What the optimizer minimizes.
    pub fn loss(&self, maps: Tensor<4>) -> Tensor<1> {
        match self.direction {
            Direction::Positive => -self.activation(maps),
            Direction::Negative => self.activation(maps),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_written_as_layer_and_channel() {
        let unit: Unit = "features.3:17".parse().unwrap();
        assert_eq!((unit.layer.as_str(), unit.channel), ("features.3", 17));
        assert_eq!(unit.to_string(), "features.3:17");
        assert!("conv4".parse::<Unit>().is_err() && "conv4:x".parse::<Unit>().is_err());
    }
}
