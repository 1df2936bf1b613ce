//! How far visualizations drive units beyond natural images.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{Area, Axis, Draw, Drawn, INK, PALETTE, bold, chart, layer_ticks, save, spread, text};
use super::{Data, Figure, Topic};
use crate::error::Result;
use crate::statistics::median;

/// Ratios by layer, each a dot, with their median.
struct Gaps {
    layers: Vec<(String, Vec<f64>)>,
}

impl Draw for Gaps {
    fn size(&self) -> (u32, u32) {
        (1000, 560)
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Drawn
    where
        DB::ErrorType: 'static,
    {
        let n = self.layers.len();
        let x = Axis {
            range: -0.5..n as f64 - 0.5,
            name: "layer, from input to output".into(),
            ticks: layer_ticks(&self.layers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), 870),
        };
        let all = self.layers.iter().flat_map(|(_, values)| values.iter().map(|v| v.log10()));
        let range = spread(all.chain([0.0]));
        let marks = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];
        let ticks = marks
            .iter()
            .filter(|m| range.contains(&f64::log10(**m)))
            .map(|m: &f64| (m.log10(), format!("{m}×")))
            .collect();
        let y =
            Axis { range: range.clone(), name: "visualization / most driving natural image".into(), ticks };
        let title = "Activation that a visualization reaches, against natural images";
        text(area, title, (20, 16), &bold(22.0, HPos::Left, VPos::Top))?;
        let mut chart = chart(area, &x, &y, [100, 60, 24, 91])?;
        let one = [(-0.5, 0.0), (n as f64 - 0.5, 0.0)];
        chart
            .draw_series(std::iter::once(PathElement::new(one, INK.stroke_width(2))))
            .map_err(|e| e.to_string())?;
        for (i, (_, values)) in self.layers.iter().enumerate() {
            let count = values.len() as f64;
            let place = |k: usize| i as f64 + (k as f64 + 0.5 - count / 2.0) * (0.5 / count.max(1.0));
            let dots = values
                .iter()
                .enumerate()
                .map(|(k, v)| Circle::new((place(k), v.log10()), 5, PALETTE[0].mix(0.7).filled()));
            chart.draw_series(dots).map_err(|e| e.to_string())?;
            if let Some(median) = median(values) {
                let bar = [(i as f64 - 0.3, median.log10()), (i as f64 + 0.3, median.log10())];
                chart
                    .draw_series(std::iter::once(PathElement::new(bar, PALETTE[1].stroke_width(3))))
                    .map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }
}

/// The gap between natural images and visualizations, by layer.
pub fn draw(folder: &Path, data: &Data) -> Result<Option<Figure>> {
    let mut layers: Vec<(String, Vec<f64>)> = vec![];
    for row in &data.silence {
        if layers.iter().all(|(name, _)| *name != row.layer) {
            layers.push((row.layer.clone(), vec![]));
        }
        // A ratio means something for units that natural images drive at all.
        if let Some(reached) = row.visualization.filter(|v| *v > 0.0 && row.natural > 0.0) {
            layers.last_mut().expect("it was just pushed").1.push(reached / row.natural);
        }
    }
    if layers.iter().all(|(_, values)| values.is_empty()) {
        return Ok(None);
    }
    save(folder, "silence", &Gaps { layers })?;
    Ok(Some(Figure {
        name: "silence".into(),
        caption: "The activation that each audited unit's visualization reaches, over the largest on natural images: \
                  the room in which a silent unit can hide. A dot a unit, a bar the median; units that natural images \
                  never drive above zero are left out."
            .into(),
        topic: Topic::Silence,
    }))
}
