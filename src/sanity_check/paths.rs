//! The path-similarity stage.

use image::RgbImage;

use super::Run;
use super::model::Model;
use crate::error::Result;
use crate::path::{self, PathSimilarity};
use crate::report::{Results, tables};
use crate::visualize::Visualization;

impl Run<'_> {
    /// The path-similarity rows of a network and its visualizations.
    pub(super) fn paths(
        &mut self,
        model: &Model,
        pictures: &[Visualization],
        circuit: &str,
        results: &mut Results,
    ) -> Result<()> {
        let settings = &self.experiment.paths;
        let natural: Vec<(usize, &RgbImage)> = self
            .validation
            .first_of_each(settings.images_per_class)
            .into_iter()
            .filter(|s| self.classes.iter().any(|c| c.index == s.label))
            .map(|s| (s.label, &s.image))
            .collect();
        let shown: Vec<(usize, &RgbImage)> =
            pictures.iter().map(|v| (v.request.objective.unit.channel, v.image())).collect();
        let of = (
            &model.key,
            &self.experiment.preprocessing,
            settings,
            (&self.experiment.data.validation, &self.experiment.visualization),
            self.experiment.seed,
            self.device(),
        );
        let rows: Vec<PathSimilarity> = results.stage(&format!("paths ({circuit})"), || {
            self.cached_json("paths", &of, || {
                path::measure(
                    &model.network,
                    &self.experiment.preprocessing,
                    &natural,
                    &shown,
                    settings,
                    &self.setting.executor,
                    self.experiment.seed,
                )
            })
        })?;
        for row in rows {
            if row.undefined_pairs > 0 {
                results.warn(format!(
                    "{}, {}, {} of {}: {} pairs have no similarity, since the activations of one image are constant; \
                     they are left out",
                    row.layer,
                    row.metric.name(),
                    row.reduction.name(),
                    model.network.name(),
                    row.undefined_pairs
                ));
            }
            self.paths.push(tables::PathSimilarity {
                network: self.name(),
                circuit: circuit.into(),
                reduction: row.reduction.name().into(),
                metric: row.metric.name().into(),
                layer: row.layer,
                natural_same_class: row.natural_same_class,
                natural_different_class: row.natural_different_class,
                visualization_same_class: row.visualization_same_class,
                visualization_different_class: row.visualization_different_class,
                normalized: row.normalized,
                lower: row.interval.map(|i| i.lower),
                upper: row.interval.map(|i| i.upper),
                pairs: row.pairs,
                undefined_pairs: row.undefined_pairs,
            });
        }
        Ok(())
    }
}
