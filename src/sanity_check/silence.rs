//! The audit of silence: how far visualizations drive units beyond what natural images do, the gap that makes silent
//! units possible.

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::Rows;
use crate::error::Result;
use crate::experiment::{Model, Session, Units, finite, rows};
use crate::progress;
use crate::results::Results;
use crate::seed;
use crate::tables;
use crate::visualize::{Request, faults};

/// What a unit does on natural images.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Natural {
    largest: f32,
    fires: f64,
}

impl Session<'_> {
    /// Audits the layers that the experiment names.
    pub(super) fn audit(&self, clean: &Model, tables: &mut Rows, results: &mut Results) -> Result<()> {
        let Some(audit) = &self.experiment.audit else {
            return Ok(());
        };
        let images: Vec<&RgbImage> =
            self.evaluated().flat_map(|set| &set.samples).map(|s| &s.image).collect();
        let natural = results.stage("natural activations of all units", || {
            let of = (
                &clean.key,
                self.identities(),
                &self.experiment.preprocessing,
                self.experiment.visualization.focus,
            );
            let of = (of, &audit.layers, self.experiment.seed, self.device());
            self.cached_json("silence", &of, || self.natural_activations(clean, &audit.layers, &images))
        })?;
        let mut optimization = self.experiment.visualization.optimization.clone();
        optimization.steps = audit.steps.unwrap_or(optimization.steps);
        let mut table = vec![];
        for (layer, natural) in audit.layers.iter().zip(natural) {
            let mut rng = seed::rng(self.experiment.seed, &("audited units", layer));
            let count = audit.units_per_layer.min(natural.len());
            let channels = rand::seq::index::sample(&mut rng, natural.len(), count).into_vec();
            let units = Units { layer: layer.clone(), channels, per_unit: 1 };
            let requests: Vec<Request> =
                units.channels.iter().map(|&channel| self.request(layer, channel, 0)).collect();
            let pictures = results.stage(&format!("audit of {layer}"), || {
                self.visualize(clean, &requests, &optimization, &[optimization.steps])
            })?;
            if let Some(words) = faults(&pictures) {
                results.warn(format!("audit of {layer}: {words}"));
            }
            for (channel, natural) in natural.iter().enumerate() {
                let picture = pictures.iter().find(|v| v.request.objective.unit.channel == channel);
                table.push(tables::Silence {
                    network: self.network.clone(),
                    layer: layer.clone(),
                    channel,
                    images: images.len(),
                    fires: natural.fires,
                    natural: f64::from(natural.largest),
                    visualization: picture.map(|v| f64::from(v.last().activation)),
                });
            }
        }
        tables.silence.extend(table);
        Ok(())
    }

    /// What every unit of each layer does on natural images.
    fn natural_activations(
        &self,
        clean: &Model,
        layers: &[String],
        images: &[&RgbImage],
    ) -> Result<Vec<Vec<Natural>>> {
        let bar = progress::bar("activations of all units", images.len());
        let readings = self.readings(&clean.network, layers)?;
        // For each image and layer the activations, and whether the units fire anywhere.
        let all = self.forward(&clean.network, layers, images, &bar, |maps| {
            let mut images = vec![vec![]; maps[0].dims()[0]];
            for (map, reading) in maps.into_iter().zip(&readings) {
                let [n, c, h, w] = map.dims();
                let largest = map.clone().reshape([n, c, h * w]).max_dim(2).reshape([n, c, 1, 1]);
                for (image, pair) in
                    images.iter_mut().zip(rows(reading.of(map)).into_iter().zip(rows(largest)))
                {
                    image.push(pair);
                }
            }
            images
        })?;
        bar.end();
        for image in &all {
            for ((activations, largest), layer) in image.iter().zip(layers) {
                finite(activations.iter().chain(largest).copied().collect(), layer)?;
            }
        }
        let of_layer = |layer: usize| {
            (0..all.first().map_or(0, |image| image[layer].0.len()))
                .map(|channel| Natural {
                    largest: all
                        .iter()
                        .map(|image| image[layer].0[channel])
                        .fold(f32::NEG_INFINITY, f32::max),
                    fires: all.iter().filter(|image| image[layer].1[channel] > 0.0).count() as f64
                        / all.len() as f64,
                })
                .collect()
        };
        Ok((0..layers.len()).map(of_layer).collect())
    }
}
