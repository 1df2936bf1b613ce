//! Where in a layer's maps a unit is read.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use trompe_base::error::{Error, Result};

use crate::{Network, Rows};

/// Which part of a unit's map counts. The map of a stream of tokens is its value at each patch; its class token, and registers, are
/// apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(
    rename_all = "kebab-case",
    expecting = "focus is \"mean\", \"centre\", \"class-token\" or { place = [Y, X] }"
)]
pub enum Focus {
    /// The mean of the whole map.
    #[default]
    Mean,
    /// The neuron at the map's centre.
    Centre,
    /// The first of a stream's tokens that stand for no place of the image.
    ClassToken,
    /// One neuron: how far down the map and how far across, each from 0 to 1.
    Place([f32; 2]),
}

impl Focus {
    /// Refuses what is no place in a map.
    ///
    /// # Errors
    /// A message that starts with the key.
    pub fn check(self) -> Result<(), String> {
        match self {
            Self::Place([y, x]) if ![y, x].iter().all(|at| (0.0..=1.0).contains(at)) => {
                Err(format!("focus.place is [{y}, {x}]; both must be between 0 and 1"))
            }
            _ => Ok(()),
        }
    }

    /// The part that counts of the maps of one layer.
    ///
    /// # Errors
    /// Usage, if there is no such layer, or no class token in it where that is asked for.
    pub fn on(self, network: &Network, layer: &str) -> Result<Reading> {
        let rows = network.rows(layer)?;
        if self == Self::ClassToken && rows.tokens() == 0 {
            return Err(Error::usage(format!(
                "layer {layer} of network {} has no class token: take means instead, or name a layer behind the one that puts a \
                 class token before the patches",
                network.name()
            )));
        }
        Ok(Reading { focus: self, rows })
    }
}

/// The part of one layer's maps that counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Which part.
    pub focus: Focus,
    /// What the rows of the maps stand for.
    pub rows: Rows,
}

impl Reading {
    /// The activation of every unit, `[N, C, 1, 1]`, in maps `[N, C, H, W]` of the layer.
    pub fn of(&self, maps: Tensor<4>) -> Tensor<4> {
        match self.focus {
            Focus::Mean => self.places(maps).mean_dims(&[2, 3]),
            Focus::Centre => at(self.places(maps), [0.5, 0.5]),
            Focus::Place(place) => at(self.places(maps), place),
            Focus::ClassToken => maps.narrow(2, 0, 1).mean_dim(3),
        }
    }

    /// What of maps `[N, C, H, W]` stands for places of the image: all but class tokens, or all, where there is nothing else.
    pub fn places(&self, maps: Tensor<4>) -> Tensor<4> {
        let [_, _, h, _] = maps.dims();
        match self.rows {
            Rows::Places { after: after @ 1.. } if after < h => maps.narrow(2, after, h - after),
            _ => maps,
        }
    }
}

/// The value at one place of every map. A stream of tokens that make a square is one.
fn at(maps: Tensor<4>, [y, x]: [f32; 2]) -> Tensor<4> {
    let [_, _, h, w] = maps.dims();
    let index = |at: f32, n: usize| ((at * n as f32) as usize).min(n - 1);
    let side = h.isqrt();
    let (row, column) = match w {
        1 if side * side == h => (index(y, side) * side + index(x, side), 0),
        _ => (index(y, h), index(x, w)),
    };
    maps.narrow(2, row, 1).narrow(3, column, 1)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    /// A class token of 100 before four patches, 1 to 4: a square of two rows.
    #[test]
    fn a_class_token_is_apart() {
        let values = vec![100f32, 1.0, 2.0, 3.0, 4.0];
        let stream = Tensor::<4>::from_data(TensorData::new(values, [1, 1, 5, 1]), &Device::default());
        let rows = Rows::Places { after: 1 };
        for (focus, value) in [
            (Focus::Mean, 2.5),
            (Focus::Centre, 4.0),
            (Focus::ClassToken, 100.0),
            (Focus::Place([0.0, 1.0]), 2.0),
            (Focus::Place([1.0, 0.0]), 3.0),
        ] {
            let got = Reading { focus, rows }.of(stream.clone());
            assert_eq!(got.into_scalar::<f32>(), value, "{focus:?}");
        }
        let alone = Reading { focus: Focus::Mean, rows: Rows::Tokens(5) };
        assert_eq!(alone.of(stream).into_scalar::<f32>(), 22.0);
    }

    /// The centre of a map of two rows and three columns is in the second of each.
    #[test]
    fn the_centre_of_a_map() {
        let map = Tensor::<4>::from_data(
            TensorData::new(vec![0f32, 1., 2., 3., 4., 5.], [1, 1, 2, 3]),
            &Device::default(),
        );
        let reading = |focus| Reading { focus, rows: Rows::default() };
        assert_eq!(reading(Focus::Centre).of(map.clone()).into_scalar::<f32>(), 4.0);
        assert_eq!(reading(Focus::Place([0.2, 1.0])).of(map).into_scalar::<f32>(), 2.0);
        assert!(Focus::Place([0.5, 1.5]).check().is_err());
    }
}
