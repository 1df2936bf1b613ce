//! Activation, and whether a circuit is on, along the trajectories.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{
    Area, Axis, Draw, Drawn, Entry, PALETTE, bold, chart, legend, save, series, spread, text,
};
use super::{Data, Figure, Topic, label};
use crate::error::Result;
use crate::statistics;
use crate::tables::{CLEAN, Trajectory};

/// Steps and values along one trajectory.
type Line = Vec<(f64, f64)>;

/// One thin line a visualization and a thick one for their mean, for each group.
struct Trajectories {
    title: String,
    y: String,
    groups: Vec<(Entry, Vec<Line>)>,
    steps: Vec<usize>,
    /// Values that the axis has in any case.
    always: Vec<f64>,
}

impl Draw for Trajectories {
    fn size(&self) -> (u32, u32) {
        (1000, 580)
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Drawn
    where
        DB::ErrorType: 'static,
    {
        let log = |step: usize| (step as f64).log2();
        let (first, last) = (self.steps[0], self.steps[self.steps.len() - 1]);
        let x = Axis {
            range: log(first) - 0.2..log(last) + 0.2,
            name: "optimization step (logarithmic)".into(),
            ticks: self.steps.iter().map(|&s| (log(s), s.to_string())).collect(),
        };
        let all = self.groups.iter().flat_map(|g| g.1.iter().flatten().map(|p| p.1));
        let y = Axis::numbers(spread(all.chain(self.always.iter().copied())), &self.y);
        text(area, &self.title, (20, 16), &bold(22.0, HPos::Left, VPos::Top))?;
        let entries: Vec<Entry> =
            self.groups.iter().map(|(e, _)| Entry { label: e.label.clone(), ..*e }).collect();
        legend(area, &entries, 100, 66)?;
        let mut chart = chart(area, &x, &y, [100, 92, 24, 72])?;
        for (entry, lines) in &self.groups {
            let faint = Entry { label: String::new(), colour: mix(entry.colour, 0.35), dashed: false };
            for line in lines {
                let line: Vec<(f64, f64)> = line.iter().map(|&(s, v)| (s.log2(), v)).collect();
                series(&mut chart, &line, &[], &faint, 1)?;
            }
        }
        for (entry, lines) in &self.groups {
            let mean: Vec<(f64, f64)> = self
                .steps
                .iter()
                .filter_map(|&s| {
                    let values = lines.iter().flatten().filter(|p| p.0 == s as f64).map(|p| p.1);
                    Some((log(s), statistics::mean(values)?))
                })
                .collect();
            series(&mut chart, &mean, &[], entry, 3)?;
        }
        Ok(())
    }
}

fn mix(colour: RGBColor, share: f64) -> RGBColor {
    let blend = |c: u8| (f64::from(c) * share + 255.0 * (1.0 - share)) as u8;
    RGBColor(blend(colour.0), blend(colour.1), blend(colour.2))
}

/// The lines of one network's units of a layer, one a visualization.
fn lines(data: &Data, layer: &str, circuit: &str, value: fn(&Trajectory) -> Option<f64>) -> Vec<Line> {
    let mut all: Vec<((usize, usize), Line)> = vec![];
    for row in data.trajectories.iter().filter(|r| r.circuit == circuit && r.layer == layer) {
        let Some(v) = value(row) else { continue };
        let key = (row.channel, row.index);
        let point = (row.step as f64, v);
        match all.iter_mut().find(|(k, _)| *k == key) {
            Some((_, line)) => line.push(point),
            None => all.push((key, vec![point])),
        }
    }
    all.into_iter().map(|(_, line)| line).collect()
}

/// The activation along the trajectories before and after each circuit, and whether it is switched on.
pub fn draw(folder: &Path, data: &Data) -> Result<Vec<Figure>> {
    let mut figures = vec![];
    let circuits = data.circuits();
    let only_honest = circuits.iter().all(|c| c == CLEAN);
    for circuit in circuits.iter().filter(|c| only_honest || *c != CLEAN) {
        let Some(layer) = data.layer_of(circuit) else { continue };
        let mut steps: Vec<usize> =
            data.trajectories.iter().filter(|r| r.circuit == *circuit).map(|r| r.step).collect();
        steps.sort_unstable();
        steps.dedup();
        let networks: Vec<&str> = if only_honest { vec![CLEAN] } else { vec![CLEAN, circuit] };
        let groups = |value: fn(&Trajectory) -> Option<f64>| -> Vec<_> {
            let entry = |c: &str, colour| Entry { label: label(c), colour, dashed: false };
            networks
                .iter()
                .zip(PALETTE)
                .map(|(c, colour)| (entry(c, colour), lines(data, layer, c, value)))
                .filter(|(_, lines)| !lines.is_empty())
                .collect()
        };
        let suffix = if only_honest { String::new() } else { format!("_{circuit}") };
        let topic = if only_honest { Topic::Honest } else { Topic::Circuit(circuit.clone()) };
        let activation = Trajectories {
            title: "Activation of the visualized unit along its trajectory".into(),
            y: "activation".into(),
            groups: groups(|r| Some(r.activation)),
            steps: steps.clone(),
            always: vec![],
        };
        save(folder, &format!("trajectories{suffix}"), &activation)?;
        figures.push(Figure {
            name: format!("trajectories{suffix}"),
            caption: "The unit's activation for the image at each step, without transforms: one thin line for each \
                      visualization, a thick one for the mean."
                .into(),
            topic: topic.clone(),
        });
        let switches = groups(|r| r.switch);
        if !switches.is_empty() {
            let switch = Trajectories {
                title: "When the circuit is switched on along the trajectory".into(),
                y: "0 off, 1 on".into(),
                groups: switches,
                steps,
                always: vec![0.0, 1.0],
            };
            save(folder, &format!("switch{suffix}"), &switch)?;
            figures.push(Figure {
                name: format!("switch{suffix}"),
                caption: "Whether the image at each step of the fooled network's trajectories switches the circuit on: \
                          a gate takes it for synthetic, or a silent unit fires."
                    .into(),
                topic,
            });
        }
    }
    Ok(figures)
}
