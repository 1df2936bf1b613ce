//! Which units are looked at, and the natural images that each stands for.

use image::RgbImage;

use super::model::Model;
use super::{Session, rows, tables};
use crate::data::Source;
use crate::error::{Error, Result};
use crate::network::Network;
use crate::progress::{self, Progress};
use crate::results::Results;
use crate::seed;
use crate::visualize::{Reading, Request, Unit, UnitObjective};

/// What an experiment has to know of a circuit before it is made.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// What tables call the circuit.
    pub name: &'a str,
    /// The layer whose units are fooled.
    pub layer: &'a str,
    /// The units that are fooled; `None` for all of the layer.
    pub units: Option<&'a [usize]>,
    /// The units that are to be visualized, where the circuit says which.
    pub visualized: Option<&'a [usize]>,
    /// The natural images it is made with, where it names them itself.
    pub natural: Option<&'a Source>,
    /// Further layers whose units' visualizations it is made with.
    pub hidden_layers: &'a [String],
}

/// Units of one layer that are looked at together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Units {
    pub layer: String,
    pub channels: Vec<usize>,
    /// Visualizations of each.
    pub per_unit: usize,
}

/// What the natural images of classes are drawn for.
pub(crate) const NATURAL_IMAGES: &str = "natural images of classes";

/// How many fooled units of a hidden layer are visualized, drawn at random, where the circuit does not say.
const FOOLED: usize = 8;

impl Session<'_> {
    /// Decides on the groups: the units of classes, those drawn from hidden layers, those that circuits fool.
    pub(crate) fn group(&mut self, network: &Network, circuits: &[Header<'_>]) -> Result<()> {
        let settings = &self.experiment.visualization;
        let known: Vec<usize> = self.validation().classes.iter().map(|c| c.index).collect();
        let wanted = settings.classes.as_ref();
        if let Some(stranger) = wanted.into_iter().flatten().find(|i| !known.contains(i)) {
            return Err(Error::usage(format!(
                "visualization.classes: {} has no images of class {stranger}",
                self.validation().name
            )));
        }
        let channels = known.into_iter().filter(|c| wanted.is_none_or(|w| w.contains(c))).collect();
        let layer = self.layer.clone();
        self.groups = vec![Units { layer, channels, per_unit: settings.per_class }];
        for hidden in &self.experiment.hidden {
            let all = network.channels(&hidden.layer)?;
            let mut rng = seed::rng(self.experiment.seed, &("hidden units", &hidden.layer));
            let channels = rand::seq::index::sample(&mut rng, all, hidden.units.min(all)).into_vec();
            let layer = hidden.layer.clone();
            self.add(Units { layer, channels, per_unit: hidden.per_unit });
        }
        for circuit in circuits {
            let named = |e: Error| Error::usage(format!("circuit {}: {e}", circuit.name));
            let channels = network.channels(circuit.layer).map_err(named)?;
            let units = self.visualized_in(circuit, channels);
            if circuit.layer != self.layer || circuit.visualized.is_some() {
                for &channel in &units.channels {
                    Unit { layer: units.layer.clone(), channel }.check(network).map_err(named)?;
                }
                self.add(units.clone());
            }
            self.visualized.insert(circuit.name.into(), units);
        }
        // A unit that several circuits of a layer show is visualized as often for each.
        for units in self.visualized.values_mut() {
            let group = self.groups.iter().find(|g| g.layer == units.layer);
            units.per_unit = group.expect("every circuit's layer has a group").per_unit;
        }
        for &channel in &self.groups[0].channels {
            Unit { layer: self.layer.clone(), channel }.check(network)?;
        }
        Ok(())
    }

    /// Adds units to the group of their layer.
    fn add(&mut self, units: Units) {
        match self.groups.iter_mut().find(|g| g.layer == units.layer) {
            Some(group) => {
                for channel in units.channels {
                    if !group.channels.contains(&channel) {
                        group.channels.push(channel);
                    }
                }
            }
            None => self.groups.push(units),
        }
    }

    /// The units of a circuit that are visualized.
    pub(crate) fn visualized(&self, circuit: &str) -> &Units {
        self.visualized.get(circuit).expect("all circuits were looked at")
    }

    fn visualized_in(&self, circuit: &Header<'_>, channels: usize) -> Units {
        let fooled = |channel: &usize| circuit.units.is_none_or(|units| units.contains(channel));
        let of_classes = circuit.layer == self.layer;
        let channels = match circuit.visualized {
            Some(list) => list.to_vec(),
            None if of_classes => self.groups[0].channels.iter().copied().filter(fooled).collect(),
            None => {
                let mut rng = seed::rng(self.experiment.seed, &("visualized units", circuit.layer));
                let drawn = rand::seq::index::sample(&mut rng, channels, channels).into_iter();
                drawn.filter(fooled).take(FOOLED).collect()
            }
        };
        let per_unit = if of_classes { self.experiment.visualization.per_class } else { 1 };
        Units { layer: circuit.layer.into(), channels, per_unit }
    }

    /// A visualization to be made.
    pub(crate) fn request(&self, layer: &str, channel: usize, index: usize) -> Request {
        let settings = &self.experiment.visualization;
        Request {
            objective: UnitObjective {
                unit: Unit { layer: layer.into(), channel },
                focus: settings.focus,
                direction: settings.direction,
            },
            index,
        }
    }

    /// What a class is called.
    pub(crate) fn class_name(&self, index: usize) -> String {
        let class = self.datasets.iter().flat_map(|(_, set)| &set.classes).find(|c| c.index == index);
        class.map_or_else(|| format!("class {index}"), |c| c.name.clone())
    }

    /// What a unit is called: its class, or `layer:channel`.
    pub(crate) fn unit_name(&self, layer: &str, channel: usize) -> String {
        if layer == self.layer { self.class_name(channel) } else { format!("{layer}:{channel}") }
    }

    /// The natural images that the units of a group stand for, with the unit's channel: images of the class, or, for a
    /// hidden unit, those that drive it most in the clean network, of all images at hand.
    pub(crate) fn natural(
        &self,
        clean: &Model,
        units: &Units,
        results: &mut Results,
    ) -> Result<Vec<(usize, &RgbImage)>> {
        let each = self.experiment.paths.images_per_class;
        if units.layer == self.layer {
            let mut rng = seed::rng(self.experiment.seed, &NATURAL_IMAGES);
            let samples = self.validation().draw_of_each(each, &mut rng).into_iter();
            let samples = samples.filter(|s| units.channels.contains(&s.label));
            return Ok(samples.map(|s| (s.label, &s.image)).collect());
        }
        let images: Vec<&RgbImage> =
            self.evaluated().flat_map(|set| &set.samples).map(|s| &s.image).collect();
        let focus = self.experiment.visualization.focus;
        let of = (
            &clean.key,
            self.identities(),
            &self.experiment.preprocessing,
            focus,
            &units.layer,
            &units.channels,
        );
        let of = (of, each, self.experiment.seed, self.device());
        let most: Vec<Vec<usize>> =
            results.stage(&format!("natural images that drive {}", units.layer), || {
                self.cached_json("most-activating", &of, || {
                    let bar = progress::bar(&format!("activations of {}", units.layer), images.len());
                    let activations = self.activations(&clean.network, &units.layer, &images, &bar)?;
                    bar.end();
                    Ok(units
                        .channels
                        .iter()
                        .map(|&channel| {
                            let mut order: Vec<usize> = (0..images.len()).collect();
                            order.sort_by(|&a, &b| {
                                activations[b][channel].total_cmp(&activations[a][channel])
                            });
                            order.truncate(each);
                            order
                        })
                        .collect())
                })
            })?;
        Ok(units
            .channels
            .iter()
            .zip(most)
            .flat_map(|(&channel, order)| order.into_iter().map(move |i| (channel, i)))
            .map(|(channel, i)| (channel, images[i]))
            .collect())
    }

    /// Finds out what natural images reach of units in the clean network: a visualization that reaches less shows little.
    pub(crate) fn strongest(&mut self, clean: &Model, units: &Units, results: &mut Results) -> Result<()> {
        let focus = self.experiment.visualization.focus;
        let of = (&clean.key, self.identities(), &self.experiment.preprocessing, focus);
        let of = (of, &units.layer, &units.channels, self.experiment.seed, self.device());
        let found: Vec<f32> =
            results.stage(&format!("what natural images reach of {}", units.layer), || {
                self.cached_json("strongest", &of, || {
                    let images: Vec<&RgbImage> =
                        self.evaluated().flat_map(|set| &set.samples).map(|s| &s.image).collect();
                    let bar = progress::bar(&format!("activations of {}", units.layer), images.len());
                    let all = self.activations(&clean.network, &units.layer, &images, &bar)?;
                    bar.end();
                    let most = |&channel: &usize| {
                        all.iter().map(|image| image[channel]).fold(f32::NEG_INFINITY, f32::max)
                    };
                    Ok(units.channels.iter().map(most).collect())
                })
            })?;
        for (&channel, most) in units.channels.iter().zip(found) {
            self.strongest.insert(Unit { layer: units.layer.clone(), channel }, most);
        }
        Ok(())
    }

    /// The data sets that accuracy is reported on.
    pub(crate) fn evaluated(&self) -> impl Iterator<Item = &crate::data::Dataset> {
        let wanted = |source| self.experiment.data.sources().any(|s| s == source);
        self.datasets.iter().filter(move |(source, _)| wanted(source)).map(|(_, set)| set)
    }

    /// What of the maps of each of these layers counts, as the objective has it.
    pub(crate) fn readings(&self, network: &Network, layers: &[String]) -> Result<Vec<Reading>> {
        let focus = self.experiment.visualization.focus;
        layers.iter().map(|layer| focus.on(network, layer)).collect()
    }

    /// For each image the activation of each unit of a layer, as the objective counts it.
    pub(crate) fn activations(
        &self,
        network: &Network,
        layer: &str,
        images: &[&RgbImage],
        bar: &Progress,
    ) -> Result<Vec<Vec<f32>>> {
        let reading = self.experiment.visualization.focus.on(network, layer)?;
        let all =
            self.forward(network, &[layer], images, bar, |mut maps| rows(reading.of(maps.remove(0))))?;
        all.into_iter().map(|image| finite(image, layer)).collect()
    }
}

/// The name of the clean network and of a circuit's, in stages.
pub(crate) fn network_name(circuit: &str) -> String {
    if circuit == tables::CLEAN { "the honest network".into() } else { circuit.into() }
}

/// Refuses activations that are no numbers: no table could hold them, and none of them means anything.
pub(crate) fn finite(values: Vec<f32>, layer: &str) -> Result<Vec<f32>> {
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(values),
        false => Err(Error::failure(format!(
            "layer {layer} gives activations of natural images that are no numbers: look at [preprocessing] (is it this \
             network's?) and the weights"
        ))),
    }
}
