//! What images reach of the units of a layer.

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::{Session, rows};
use crate::error::Result;
use crate::network::Network;
use crate::progress::{self, Progress};

/// The least and the largest value of each unit of a layer, at any place of its map, over images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// The least value of each unit; infinity over no image.
    pub min: Vec<f32>,
    /// The largest value of each unit; minus infinity over no image.
    pub max: Vec<f32>,
}

impl Range {
    /// The range of `n` units over no image.
    pub fn empty(n: usize) -> Self {
        Self { min: vec![f32::INFINITY; n], max: vec![f32::NEG_INFINITY; n] }
    }

    /// The range over the images of both.
    pub fn with(self, other: Self) -> Self {
        let join = |a: Vec<f32>, b: Vec<f32>, pick: fn(f32, f32) -> f32| {
            a.into_iter().zip(b).map(|(a, b)| pick(a, b)).collect()
        };
        Self { min: join(self.min, other.min, f32::min), max: join(self.max, other.max, f32::max) }
    }
}

impl Session<'_> {
    /// Whether each image switches a circuit on: whether a layer of the network, the switch, is above zero anywhere.
    pub(crate) fn switched(
        &self,
        network: &Network,
        switch: Option<&str>,
        images: &[&RgbImage],
    ) -> Result<Vec<bool>> {
        let Some(switch) = switch else {
            return Ok(vec![false; images.len()]);
        };
        let bar = progress::bar("natural or synthetic", images.len());
        let ranges = self.ranges(network, switch, images, &bar)?;
        bar.end();
        Ok(ranges.iter().map(|range| range.max.iter().any(|&v| v > 0.0)).collect())
    }

    /// The range of each unit's map, for each image.
    fn ranges(
        &self,
        network: &Network,
        layer: &str,
        images: &[&RgbImage],
        bar: &Progress,
    ) -> Result<Vec<Range>> {
        self.forward(network, &[layer], images, bar, |mut maps| {
            let map = maps.remove(0);
            let [n, c, h, w] = map.dims();
            let flat = map.reshape([n, c, h * w]);
            let [min, max] =
                [flat.clone().min_dim(2), flat.max_dim(2)].map(|t| rows(t.reshape([n, c, 1, 1])));
            min.into_iter().zip(max).map(|(min, max)| Range { min, max }).collect()
        })
    }

    /// The range of each unit of a layer over images.
    pub(crate) fn range(&self, network: &Network, layer: &str, images: &[&RgbImage]) -> Result<Range> {
        let bar = progress::bar(&format!("activations of {layer}"), images.len());
        let ranges = self.ranges(network, layer, images, &bar)?;
        bar.end();
        Ok(ranges.into_iter().fold(Range::empty(network.channels(layer)?), Range::with))
    }
}
