//! What a visualization maximizes.

use std::fmt;
use std::ops::{Add, Mul, Sub};
use std::str::FromStr;
use std::sync::Arc;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;
use crate::network::{Focus, Network, Reading, Rows};

/// One channel of one layer, written `layer:channel`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unit {
    /// The layer's name.
    pub layer: String,
    /// The channel's number, from 0.
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

/// Whether the unit is driven up or down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Up: the activation is made large.
    #[default]
    Positive,
    /// Down: the activation is made small.
    Negative,
}

/// One image's map of a layer, as objectives are given it.
#[derive(Clone, Debug)]
pub struct LayerMap {
    /// The activations, `[1, C, H, W]`.
    pub values: Tensor<4>,
    /// What its rows stand for.
    pub rows: Rows,
}

/// What a visualization makes large. Whoever has an idea of their own implements it, and gives it to
/// [`maximize`](super::maximize).
pub trait Objective: Send + Sync {
    /// The layers that it is computed from.
    fn layers(&self) -> Vec<String>;

    /// What is to become large, `[1]`, from one image's maps of these layers, in their order. Differentiable.
    fn value(&self, maps: &[LayerMap]) -> Tensor<1>;

    /// What trajectories keep of it.
    fn activation(&self, maps: &[LayerMap]) -> Tensor<1> {
        self.value(maps)
    }
}

/// A unit's activation, somewhere in its map, up or down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitObjective {
    /// The unit.
    pub unit: Unit,
    /// Where in its map.
    #[serde(default)]
    pub focus: Focus,
    /// In which direction.
    #[serde(default)]
    pub direction: Direction,
}

impl UnitObjective {
    /// The mean of a unit's map, upwards.
    pub fn of(unit: Unit) -> Self {
        Self { unit, focus: Focus::default(), direction: Direction::default() }
    }
}

impl Objective for UnitObjective {
    fn layers(&self) -> Vec<String> {
        vec![self.unit.layer.clone()]
    }

    fn value(&self, maps: &[LayerMap]) -> Tensor<1> {
        match self.direction {
            Direction::Positive => self.activation(maps),
            Direction::Negative => -self.activation(maps),
        }
    }

    /// The unit's activation, whatever the direction.
    fn activation(&self, maps: &[LayerMap]) -> Tensor<1> {
        let LayerMap { values, rows } = maps[0].clone();
        let map = values.narrow(1, self.unit.channel, 1);
        let reading = Reading { focus: self.focus, rows };
        match self.focus {
            // In one sum: axis by axis it is rounded otherwise, and pictures of the same seed would differ.
            Focus::Mean => reading.places(map).mean(),
            _ => reading.of(map).reshape([1]),
        }
    }
}

/// A weighted sum of objectives, itself one: `Terms::from(a) + Terms::from(b) * 0.5`.
#[derive(Clone)]
pub struct Terms(Vec<(f32, Arc<dyn Objective>)>);

impl<O: Objective + 'static> From<O> for Terms {
    fn from(objective: O) -> Self {
        Self(vec![(1.0, Arc::new(objective))])
    }
}

impl Add for Terms {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

impl Sub for Terms {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + other * -1.0
    }
}

impl Mul<f32> for Terms {
    type Output = Self;

    fn mul(mut self, factor: f32) -> Self {
        self.0.iter_mut().for_each(|(weight, _)| *weight *= factor);
        self
    }
}

impl Terms {
    /// The layers of all terms, and the value of each from its own.
    fn sum(&self, maps: &[LayerMap], of: impl Fn(&dyn Objective, &[LayerMap]) -> Tensor<1>) -> Tensor<1> {
        let mut rest = maps;
        let each = self.0.iter().map(|(weight, objective)| {
            let (own, others) = rest.split_at(objective.layers().len());
            rest = others;
            let value = of(objective.as_ref(), own);
            if *weight == 1.0 { value } else { value * *weight }
        });
        each.reduce(|sum, value| sum + value).expect("made of at least one objective")
    }

    /// All layers, those of one term after those of the other.
    pub(super) fn all_layers(&self) -> Vec<String> {
        self.0.iter().flat_map(|(_, objective)| objective.layers()).collect()
    }

    /// As [`Objective::value`].
    pub(super) fn value(&self, maps: &[LayerMap]) -> Tensor<1> {
        self.sum(maps, |objective, maps| objective.value(maps))
    }

    /// As [`Objective::activation`].
    pub(super) fn activation(&self, maps: &[LayerMap]) -> Tensor<1> {
        self.sum(maps, |objective, maps| objective.activation(maps))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    /// Twice one unit's mean less half of another's centre, by hand.
    #[test]
    fn objectives_add_subtract_and_scale() {
        let map = |values: Vec<f32>| {
            let values = Tensor::from_data(TensorData::new(values, [1, 2, 1, 3]), &Device::default());
            LayerMap { values, rows: Rows::default() }
        };
        let maps = [map(vec![1.0, 2.0, 6.0, 0.0, 0.0, 0.0]), map(vec![0.0, 0.0, 0.0, 5.0, 8.0, 5.0])];
        let mean = UnitObjective::of("a:0".parse().unwrap());
        let centre = UnitObjective { focus: Focus::Centre, ..UnitObjective::of("b:1".parse().unwrap()) };
        let terms = Terms::from(mean) * 2.0 - Terms::from(centre) * 0.5;
        assert_eq!(terms.all_layers(), ["a", "b"]);
        assert_eq!(terms.value(&maps).into_scalar::<f32>(), 2.0 * 3.0 - 0.5 * 8.0);
    }

    #[test]
    fn a_unit_is_written_as_layer_and_channel() {
        let unit: Unit = "features.3:17".parse().unwrap();
        assert_eq!((unit.layer.as_str(), unit.channel), ("features.3", 17));
        assert_eq!(unit.to_string(), "features.3:17");
        assert!("conv4".parse::<Unit>().is_err() && "conv4:x".parse::<Unit>().is_err());
    }
}
