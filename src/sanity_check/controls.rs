//! The controls of the path-similarity stage.

use image::RgbImage;

use super::Rows;
use super::paths::table_row;
use crate::error::Result;
use crate::experiment::{Model, NATURAL_IMAGES, Session};
use crate::path::{self, Control, PathSimilarity};
use crate::results::Results;
use crate::seed;
use crate::tables;

impl Session<'_> {
    /// What the statistic says of the controls, for the units of classes.
    pub(super) fn controls(&self, clean: &Model, tables: &mut Rows, results: &mut Results) -> Result<()> {
        let Some(settings) = &self.experiment.controls else { return Ok(()) };
        let paths = &self.experiment.paths;
        let units = self.groups[0].clone();
        let each = settings.pictures.unwrap_or(self.experiment.visualization.per_class);
        let natural = self.natural(clean, &units, results)?;
        // Further images of each class, by the same draw.
        let mut rng = seed::rng(self.experiment.seed, &NATURAL_IMAGES);
        let drawn = self.validation().draw_of_each(paths.images_per_class + each, &mut rng);
        let others: Vec<(usize, &RgbImage)> = units
            .channels
            .iter()
            .flat_map(|&class| {
                let of_class = drawn.iter().filter(move |s| s.label == class);
                of_class.skip(paths.images_per_class).map(move |s| (class, &s.image))
            })
            .collect();
        let wanted = each * units.channels.len();
        if others.len() < wanted {
            results.warn(format!(
                "controls: {} natural images that are not compared with are left of the {wanted} wanted; set \
                 paths.images_per_class or controls.pictures lower",
                others.len()
            ));
        }
        let untrained = match settings.kinds.iter().any(|kind| kind.is_untrained()) {
            true => {
                let model = clean.untrained(self.experiment.seed)?;
                let pictures = self.visualizations(&model, &units, results)?;
                Some((model, pictures))
            }
            false => None,
        };
        let (mut rows, mut examples) = (vec![], vec![]);
        for &kind in &settings.kinds {
            let made: Vec<(usize, RgbImage)> = match &untrained {
                Some((_, pictures)) if kind.is_untrained() => {
                    pictures.iter().map(|v| (v.request.objective.unit.channel, v.image().clone())).collect()
                }
                _ => others
                    .iter()
                    .enumerate()
                    .map(|(i, &(class, image))| {
                        let mut rng = seed::rng(self.experiment.seed, &("control", kind.name(), i));
                        (class, kind.of(image, &mut rng))
                    })
                    .collect(),
            };
            let model = match (&untrained, kind) {
                (Some((model, _)), Control::UntrainedNetwork) => model,
                _ => clean,
            };
            let of = (
                (&model.key, &clean.key, &units.channels, kind, each),
                (&self.experiment.preprocessing, paths, &self.experiment.visualization),
                (self.identities(), self.experiment.seed, self.device()),
            );
            let shown: Vec<(usize, &RgbImage)> = made.iter().map(|(class, image)| (*class, image)).collect();
            let measured: Vec<PathSimilarity> =
                results.stage(&format!("paths of control \"{}\"", kind.name()), || {
                    self.cached_json("paths-of-controls", &of, || {
                        path::measure(
                            &model.network,
                            &self.experiment.preprocessing,
                            &natural,
                            &shown,
                            paths,
                            &self.setting.executor,
                            self.experiment.seed,
                        )
                    })
                })?;
            let row = |m| tables::ControlSimilarity(table_row(m, &self.network, kind.name(), &units.layer));
            rows.extend(measured.iter().map(row));
            for (i, (class, image)) in made.iter().enumerate() {
                let first = made[..i].iter().all(|(other, _)| other != class);
                if first && kind != Control::UntrainedNetwork {
                    examples.push(tables::ControlPicture {
                        control: kind.name().into(),
                        channel: *class,
                        name: self.unit_name(&units.layer, *class),
                        picture: results.picture(&format!("controls/{}/{class:04}", kind.name()), image)?,
                    });
                }
            }
        }
        tables.controls.extend(rows);
        tables.control_pictures.extend(examples);
        Ok(())
    }
}
