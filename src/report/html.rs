//! `report.html`: the result in order, with its figures and numbers, in one file that needs nothing beside it.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::{AutoEscape, Environment, Value, context};

use super::figures::{Data, Figure};
use super::summary::{by_third, curve, fooling};
use super::tables::CLEAN;
use super::{Manifest, write_whole};
use crate::error::{Context, Result};

/// What an undefined value is shown as.
const UNDEFINED: &str = "undefined";

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| UNDEFINED.into(), |v| format!("{v:.3}"))
}

fn share(hits: usize, all: usize) -> String {
    format!("{hits} of {all}")
}

/// The result in a few sentences.
fn verdict(data: &Data) -> Vec<String> {
    let mut lines = vec![];
    let comparison = data.comparisons().into_iter().next();
    let curve_of = |circuit: &str| -> Option<String> {
        let [early, middle, late] = by_third(&curve(data, circuit, comparison.as_ref()?)).map(number);
        Some(format!("{early} in early, {middle} in middle and {late} in late layers"))
    };
    if let Some(values) = curve_of(CLEAN) {
        lines.push(format!(
            "In the honest network the normalized similarity between visualizations and natural images of their \
             class is {values}: 1 is as similar as natural images of the same class are to one another, 0 as \
             similar as natural images of different classes."
        ));
    }
    for circuit in data.circuits().iter().filter(|c| *c != CLEAN) {
        let fooling = fooling(data, circuit);
        let top1 = |c: &str| data.accuracy.iter().find(|a| a.circuit == c).map(|a| a.top1);
        if let (Some(before), Some(after)) = (top1(CLEAN), top1(circuit)) {
            lines.push(format!(
                "With the circuit \"{circuit}\", top-1 accuracy goes from {} to {}, while {} of {} visualizations are \
                 seen by the honest network as the unit that the circuit makes them show, and {} as their own.",
                percent(before),
                percent(after),
                fooling.target,
                fooling.pictures,
                fooling.own
            ));
        }
        if let Some(values) = curve_of(circuit) {
            lines.push(format!("The normalized similarity of its visualizations is {values}."));
        }
    }
    lines
}

/// Writes the report.
///
/// # Errors
/// Failure, if a figure can't be read or the file can't be written.
pub fn write(folder: &Path, manifest: &Manifest, data: &Data, figures: &[Figure]) -> Result<()> {
    let mut shown = vec![];
    for (i, figure) in figures.iter().enumerate() {
        let path = folder.join(format!("figures/{}.png", figure.name));
        let bytes = std::fs::read(&path).on("read", &path)?;
        let inline = format!("data:image/png;base64,{}", STANDARD.encode(bytes));
        let entry = context! { number => i + 1, caption => figure.caption.clone(), data => inline };
        shown.push((figure.name.starts_with("path_"), entry));
    }
    let of = |curves: bool| -> Vec<Value> {
        shown.iter().filter(|(c, _)| *c == curves).map(|(_, f)| f.clone()).collect()
    };
    let circuits: Vec<String> = data.circuits().into_iter().filter(|c| c != CLEAN).collect();
    let experiment = &manifest.config["experiment"];
    let name = experiment["name"].as_str().unwrap_or("results");
    let network = |circuit: &str| match circuit {
        CLEAN => "honest".to_string(),
        other => other.to_string(),
    };

    let accuracy: Vec<Value> = data
        .accuracy
        .iter()
        .map(|a| {
            let moved = data.behaviour.iter().find(|b| b.circuit == a.circuit && b.dataset == a.dataset);
            context! {
                network => network(&a.circuit),
                dataset => a.dataset.clone(),
                images => a.images,
                top1 => percent(a.top1),
                top5 => percent(a.top5),
                changed => moved.map_or(String::new(), |b| b.changed_predictions.to_string()),
                change => moved.map_or(String::new(), |b| format!("{:.2e}", b.largest_logit_change)),
            }
        })
        .collect();
    let fooling: Vec<Value> = circuits
        .iter()
        .map(|circuit| {
            let f = fooling(data, circuit);
            context! {
                circuit => circuit.clone(),
                pictures => f.pictures,
                target => share(f.target, f.pictures),
                own => share(f.own, f.pictures),
                similarity_target => number(f.similarity_target),
                similarity_own => number(f.similarity_own),
                closer => share(f.closer, f.pictures),
            }
        })
        .collect();
    let gate: Vec<Value> = data
        .gate
        .iter()
        .map(|g| {
            context! {
                circuit => g.circuit.clone(),
                kind => format!("{} ({})", g.kind, g.dataset),
                step => g.step.map_or(String::new(), |s| s.to_string()),
                images => g.images,
                correct => percent(g.correct),
            }
        })
        .collect();
    let (mut thirds, mut paths) = (vec![], vec![]);
    for comparison in data.comparisons() {
        for circuit in data.circuits() {
            let rows = curve(data, &circuit, &comparison);
            let [early, middle, late] = by_third(&rows);
            let measure = format!("{}, {}", comparison.1, comparison.0);
            thirds.push(context! {
                network => network(&circuit),
                measure => measure.clone(),
                early => number(early),
                middle => number(middle),
                late => number(late),
            });
            let cells: Vec<Vec<String>> = rows
                .iter()
                .map(|r| {
                    let interval = match (r.lower, r.upper) {
                        (Some(l), Some(u)) => format!("{l:.3} to {u:.3}"),
                        _ => UNDEFINED.into(),
                    };
                    vec![
                        r.layer.clone(),
                        number(r.natural_same_class),
                        number(r.natural_different_class),
                        number(r.visualization_same_class),
                        number(r.visualization_different_class),
                        number(r.normalized),
                        interval,
                        r.pairs.to_string(),
                    ]
                })
                .collect();
            paths.push(context! { title => format!("{}: {measure}", network(&circuit)), rows => cells });
        }
    }

    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let path = folder.join("report.html");
    environment.add_template("report", include_str!("report.html")).on("write", &path)?;
    let page = environment
        .get_template("report")
        .and_then(|template| {
            template.render(context! {
                name,
                verdict => verdict(data),
                done => what_was_done(manifest, data),
                circuits => !circuits.is_empty(),
                accuracy,
                fooling,
                gate,
                thirds,
                paths,
                pictures => of(false),
                curves => of(true),
                manifest => Value::from(minijinja::value::Serde(manifest)),
                config => serde_json::to_string_pretty(&manifest.config).unwrap_or_default(),
            })
        })
        .on("write", &path)?;
    write_whole(&path, page.as_bytes())
}

/// The experiment in a sentence or two.
fn what_was_done(manifest: &Manifest, data: &Data) -> String {
    let experiment = &manifest.config["experiment"];
    let settings = &experiment["visualization"];
    let optimization = &settings["optimization"];
    let mut classes: Vec<usize> = data.visualizations.iter().map(|v| v.class).collect();
    classes.sort_unstable();
    classes.dedup();
    let layers = data.paths.first().map_or(0, |first| {
        data.paths
            .iter()
            .filter(|r| {
                (&r.circuit, &r.metric, &r.reduction) == (&first.circuit, &first.metric, &first.reduction)
            })
            .count()
    });
    format!(
        "The units of {} classes of {} were visualized {} times each ({} steps at {} px, {} parameterization), and \
         their activations at {layers} layers compared with those of {} natural images of each class.",
        classes.len(),
        experiment["network"]["builder"].as_str().unwrap_or("the network"),
        settings["per_class"],
        optimization["steps"],
        optimization["size"],
        optimization["parameterization"].as_str().unwrap_or("default"),
        experiment["paths"]["images_per_class"],
    )
}
