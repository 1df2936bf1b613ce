//! The path-similarity stage.

use image::RgbImage;

use super::Rows;
use crate::error::Result;
use crate::experiment::{Model, Session, Units, network_name};
use crate::network::Network;
use crate::path::{self, Interval, PathSimilarity};
use crate::results::Results;
use crate::tables;
use crate::visualize::Visualization;

impl Session<'_> {
    /// The path-similarity rows of a network and its visualizations of some units, set against the natural images that
    /// all units of their group stand for.
    #[expect(clippy::too_many_arguments, reason = "what is compared, and where it is written")]
    pub(super) fn paths(
        &self,
        clean: &Model,
        model: &Model,
        units: &Units,
        pictures: &[Visualization],
        circuit: &str,
        tables: &mut Rows,
        results: &mut Results,
    ) -> Result<()> {
        let group =
            self.groups.iter().find(|g| g.layer == units.layer).expect("every layer has a group").clone();
        let settings = path::Settings {
            layers: self.layers_up_to(&clean.network, &units.layer)?,
            ..self.experiment.paths.clone()
        };
        if settings.layers.is_empty() {
            return Ok(());
        }
        let natural = self.natural(clean, &group, results)?;
        // Pictures that show nothing of their units have no path to compare.
        let shown: Vec<(usize, &RgbImage)> = pictures
            .iter()
            .filter(|v| v.fault.is_none())
            .map(|v| (v.request.objective.unit.channel, v.image()))
            .collect();
        if shown.len() < pictures.len() {
            results.warn(format!(
                "{} pictures of units of {} in {} show nothing, and are left out of path similarity",
                pictures.len() - shown.len(),
                units.layer,
                network_name(circuit)
            ));
        }
        let of = (
            (&model.key, &units.layer, &group.channels, &units.channels, units.per_unit),
            &self.experiment.preprocessing,
            &settings,
            (self.identities(), &self.experiment.visualization),
            self.experiment.seed,
            self.device(),
        );
        let rows: Vec<PathSimilarity> = results.stage(
            &format!("paths of units of {} in {}", units.layer, network_name(circuit)),
            || {
                self.cached_json("paths", &of, || {
                    path::measure(
                        &model.network,
                        &self.experiment.preprocessing,
                        &natural,
                        &shown,
                        &settings,
                        &self.setting.executor,
                        self.experiment.seed,
                    )
                })
            },
        )?;
        let mut table = vec![];
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
            table.push(table_row(&row, &self.network, circuit, &units.layer));
        }
        tables.paths.extend(table);
        Ok(())
    }

    /// The layers of the comparison that come before a unit's layer, and that layer itself; all of them for the units
    /// of classes.
    fn layers_up_to(&self, network: &Network, layer: &str) -> Result<Vec<String>> {
        let all = &self.experiment.paths.layers;
        if layer == self.layer {
            return Ok(all.clone());
        }
        let graph = network.graph();
        let end = graph.position(layer)?;
        let before = |name: &&String| graph.position(name).is_ok_and(|at| at <= end);
        Ok(all.iter().filter(before).cloned().collect())
    }
}

/// A measured similarity as a row of the table.
pub(super) fn table_row(
    row: &PathSimilarity,
    network: &str,
    circuit: &str,
    units: &str,
) -> tables::PathSimilarity {
    let [difference, normalized, specific, generic] =
        [row.natural_difference, row.normalized, row.class_specific, row.generic].map(|estimate| {
            let [lower, upper] = [|i: Interval| i.lower, |i: Interval| i.upper];
            (estimate.value, estimate.interval.map(lower), estimate.interval.map(upper))
        });
    tables::PathSimilarity {
        network: network.into(),
        circuit: circuit.into(),
        units: units.into(),
        reduction: row.reduction.name().into(),
        metric: row.metric.name().into(),
        layer: row.layer.clone(),
        natural_same_class: row.natural_same_class,
        natural_different_class: row.natural_different_class,
        visualization_same_class: row.visualization_same_class,
        visualization_different_class: row.visualization_different_class,
        natural_difference: difference.0,
        natural_difference_lower: difference.1,
        natural_difference_upper: difference.2,
        normalized: normalized.0,
        lower: normalized.1,
        upper: normalized.2,
        class_specific: specific.0,
        class_specific_lower: specific.1,
        class_specific_upper: specific.2,
        generic: generic.0,
        generic_lower: generic.1,
        generic_upper: generic.2,
        pairs: row.pairs,
        undefined_pairs: row.undefined_pairs,
    }
}
