//! The audit of silence: how far visualizations drive units beyond what natural images do, the gap that makes silent
//! units possible.

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::Run;
use super::model::Model;
use super::units::Units;
use crate::data::Preprocessing;
use crate::error::Result;
use crate::progress;
use crate::report::{Results, tables};
use crate::seed;
use crate::visualize::{Focus, Request};

/// What a unit does on natural images.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Natural {
    largest: f32,
    fires: f64,
}

impl Run<'_> {
    /// Audits the layers that the experiment names.
    pub(super) fn audit(&mut self, clean: &Model, results: &mut Results) -> Result<()> {
        let Some(audit) = &self.experiment.audit else {
            return Ok(());
        };
        let images: Vec<&RgbImage> =
            self.evaluated().flat_map(|set| &set.samples).map(|s| &s.image).collect();
        let natural = results.stage("natural activations of all units", || {
            let sources: Vec<_> = self.experiment.data.sources().collect();
            let of =
                (&clean.key, sources, &self.experiment.preprocessing, self.experiment.visualization.focus);
            let of = (of, &audit.layers, self.experiment.seed, self.device());
            self.cached_json("silence", &of, || self.natural_activations(clean, &audit.layers, &images))
        })?;
        let mut optimization = self.experiment.visualization.optimization.clone();
        optimization.steps = audit.steps.unwrap_or(optimization.steps);
        let mut rows = vec![];
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
            for (channel, natural) in natural.iter().enumerate() {
                let picture = pictures.iter().find(|v| v.request.objective.unit.channel == channel);
                rows.push(tables::Silence {
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
        self.silence.extend(rows);
        Ok(())
    }

    /// What every unit of each layer does on natural images.
    fn natural_activations(
        &self,
        clean: &Model,
        layers: &[String],
        images: &[&RgbImage],
    ) -> Result<Vec<Vec<Natural>>> {
        let executor = &self.setting.executor;
        let size = images.first().map_or(1, |i| executor.batch(i.height() as usize, i.width() as usize));
        let bar = progress::bar("activations of all units", images.len());
        let rows = executor.run(images, size, &bar, |chunk| {
            let input = Preprocessing::tensor(chunk.iter().copied(), executor.device());
            let maps = clean.network.capture(self.experiment.preprocessing.apply(input), layers)?;
            let mut rows = vec![vec![]; chunk.len()];
            for map in maps {
                let [n, c, h, w] = map.dims();
                let activation = match self.experiment.visualization.focus {
                    Focus::Mean => map.clone().mean_dims(&[2, 3]),
                    Focus::Centre => map.clone().narrow(2, h / 2, 1).narrow(3, w / 2, 1),
                };
                let largest = map.reshape([n, c, h * w]).max_dim(2);
                let values = |t: burn::tensor::TensorData| -> Vec<f32> {
                    t.try_to_vec().expect("activations are 32-bit floats")
                };
                let (activation, largest) = (values(activation.into_data()), values(largest.into_data()));
                for (row, (a, l)) in rows.iter_mut().zip(activation.chunks(c).zip(largest.chunks(c))) {
                    row.push((a.to_vec(), l.iter().map(|&v| v > 0.0).collect::<Vec<bool>>()));
                }
            }
            Ok(rows)
        })?;
        bar.finish_and_clear();
        let of_layer = |layer: usize| {
            (0..rows.first().map_or(0, |row| row[layer].0.len()))
                .map(|channel| Natural {
                    largest: rows.iter().map(|row| row[layer].0[channel]).fold(f32::NEG_INFINITY, f32::max),
                    fires: rows.iter().filter(|row| row[layer].1[channel]).count() as f64 / rows.len() as f64,
                })
                .collect()
        };
        Ok((0..layers.len()).map(of_layer).collect())
    }
}
