//! The report of an experiment: what visualizations show, how circuits make them lie, and the sanity check.

use minijinja::{Value, context};

use super::{Content, Report, UNDEFINED, number, percent};
use crate::circuit::{Circuit, classifier};
use crate::config::Experiment;
use crate::error::Result;
use crate::report::figures::{Data, Topic};
use crate::report::summary::{
    by_third, fooling, gaps, hardly_divisible, recognized, resemblance, specific_by_third, surface_words,
};
use crate::results::Kind;
use crate::statistics::mean;
use crate::tables::unique;
use crate::tables::{CLEAN, PathSimilarity};

fn share(hits: usize, all: usize) -> String {
    format!("{hits} of {all}")
}

/// The answer in plain words: whether the pictures lie, circuit by circuit, and whether honest ones are processed as natural
/// images are.
fn answers(data: &Data) -> Vec<String> {
    let mut lines: Vec<String> =
        data.circuits().iter().filter(|c| *c != CLEAN).filter_map(|circuit| lie(data, circuit)).collect();
    lines.extend(path_in_words(data));
    lines
}

/// Whether a circuit's pictures lie, and what it costs.
fn lie(data: &Data, circuit: &str) -> Option<String> {
    let f = fooling(data, circuit);
    if f.pictures == 0 {
        return None;
    }
    let (lying, what) = match f.target {
        Some(target) => {
            (target, "are seen by the honest network as the class that the circuit makes them show")
        }
        None => (
            f.shows,
            "are closer, by features or by pixels, to what the circuit makes them show than to the unit's own",
        ),
    };
    let verdict = match lying as f64 / f.pictures as f64 {
        0.9.. => "these pictures lie",
        share if share > 0.5 => "most of these pictures lie",
        0.5 => "half of these pictures lie",
        0.1.. => "some of these pictures lie",
        _ => "these pictures do not lie as they are to",
    };
    let cost = data.behaviour.iter().find(|b| b.circuit == circuit).map(|b| {
        let changed = match b.changed_predictions {
            0 => "no prediction".to_string(),
            1 => "1 prediction".to_string(),
            n => format!("{n} predictions"),
        };
        let change = if b.changed_predictions > 1 { "change" } else { "changes" };
        format!(", while {changed} on {} natural images {change}", b.images)
    });
    Some(format!(
        "Circuit “{circuit}”: {verdict}. {} {what}{}.",
        share(lying, f.pictures),
        cost.unwrap_or_default()
    ))
}

/// In which layers the honest network's pictures are processed as natural images of their class are.
fn path_in_words(data: &Data) -> Option<String> {
    // Halfway between other classes (0) and the same (1).
    const ALIKE: f64 = 0.5;
    let rows = data.curve(data.layer_of(CLEAN)?, CLEAN, &data.comparisons().into_iter().next()?);
    let where_alike = |thirds: [Option<f64>; 3]| {
        let names: Vec<&str> = ["early", "middle", "late"]
            .into_iter()
            .zip(thirds)
            .filter_map(|(name, value)| (value? >= ALIKE).then_some(name))
            .collect();
        match names[..] {
            [] => "in none of its layers".to_string(),
            [one] => format!("in {one} layers"),
            [first, second] => format!("in {first} and {second} layers"),
            _ => "in all of its layers".to_string(),
        }
    };
    let (whole, specific) = (by_third(&rows), specific_by_third(&rows));
    whole.iter().any(Option::is_some).then(|| {
        format!(
            "Are the honest network's pictures processed as natural images of their class are? By the paper's statistic, {}; \
             by its class-specific part alone, {}.",
            where_alike(whole),
            where_alike(specific)
        )
    })
}

/// The numbers behind the answer, in a few sentences.
fn verdict(data: &Data) -> Vec<String> {
    let mut lines = vec![];
    let comparison = data.comparisons().into_iter().next();
    let curve_of = |circuit: &str| -> Option<String> {
        let rows = data.curve(data.layer_of(circuit)?, circuit, comparison.as_ref()?);
        let [early, middle, late] = by_third(&rows).map(number);
        (!rows.is_empty()).then(|| format!("{early} in early, {middle} in middle and {late} in late layers"))
    };
    if let Some(values) = curve_of(CLEAN) {
        lines.push(format!(
            "In the honest network the normalized similarity between visualizations and natural images of their \
             class is {values}: 1 is as similar as natural images of the same class are to one another, 0 as \
             similar as natural images of different classes."
        ));
        lines.extend(parts_in_words(data));
    }
    for circuit in data.circuits().iter().filter(|c| *c != CLEAN) {
        let fooling = fooling(data, circuit);
        let top1 = |c: &str| data.accuracy.iter().find(|a| a.circuit == c).map(|a| a.top1);
        if let (Some(before), Some(after)) = (top1(CLEAN), top1(circuit)) {
            let pictures = fooling.pictures;
            let shown = match (fooling.target, fooling.own) {
                (Some(_), Some(own)) => {
                    format!(
                        "{own} of {pictures} visualizations are seen by the honest network as their own class"
                    )
                }
                (None, Some(own)) => format!(
                    "{own} of {pictures} visualizations are seen by the honest network as their own class; with the given \
                     picture they correlate by {}, with honest visualizations by {}",
                    number(fooling.pixels_target),
                    number(fooling.pixels_own)
                ),
                _ => {
                    let [fooled, honest] = [circuit, CLEAN].map(|n| number(resemblance(data, n, circuit).0));
                    format!(
                        "{} of {pictures} visualizations are closer to what the circuit makes the unit show than to \
                         the unit's honest ones; those of different units resemble one another by {fooled}, in the \
                         honest network by {honest}",
                        fooling.closer
                    )
                }
            };
            let curve = curve_of(circuit);
            lines.push(format!(
                "With the circuit “{circuit}”, top-1 accuracy goes from {} to {}, and {shown}{}.",
                percent(before),
                percent(after),
                curve.map_or(String::new(), |values| format!(
                    "; the normalized similarity of its visualizations is {values}"
                ))
            ));
        }
    }
    lines
}

/// What the two parts of the honest network's statistic say, each of something else.
fn parts_in_words(data: &Data) -> Option<String> {
    let rows = data.curve(data.layer_of(CLEAN)?, CLEAN, &data.comparisons().into_iter().next()?);
    let [early, middle, late] = specific_by_third(&rows).map(number);
    let mut words = format!(
        "That number is a sum. Its class-specific part, how much more alike visualizations are to their own class than to \
         others, is {early}, {middle} and {late}: this is what tells whether they follow their class's path. The rest only says \
         how far they are from natural images of any class."
    );
    let little = hardly_divisible(&rows);
    if !little.is_empty() {
        words += &format!(
            " In {} natural images of one class are hardly more alike than those of different classes, so that ratios to \
             this difference say little there.",
            little.join(", ")
        );
    }
    Some(words)
}

/// The page.
pub(super) struct Page;

impl Report for Page {
    fn kind(&self) -> Kind {
        Kind::SanityCheck
    }

    fn template(&self) -> &'static str {
        include_str!("sanity_check.html")
    }

    fn values(&self, content: &Content<'_>) -> Result<Value> {
        let Content { manifest, data, figures, .. } = content;
        let (experiment, fooled): (Experiment, Vec<Circuit>) =
            (manifest.part("experiment")?, manifest.part("circuits")?);
        let circuits: Vec<String> = data.circuits().into_iter().filter(|c| c != CLEAN).collect();
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
                    switched => moved.map_or(String::new(), |b| b.switched.to_string()),
                    change => moved.map_or(String::new(), |b| change(b.largest_logit_change)),
                    change_off => moved.map_or(String::new(), |b| change(b.largest_logit_change_off)),
                    seen => moved.is_some_and(|b| b.seen),
                }
            })
            .collect();
        let surface: Vec<String> = data
            .accuracy
            .iter()
            .filter(|a| a.circuit == CLEAN)
            .filter_map(|a| a.surface.map(|share| surface_words(&a.dataset, share)))
            .collect();
        let lies: Vec<Value> = circuits
            .iter()
            .map(|circuit| {
                let f = fooling(data, circuit);
                let count = |n: Option<usize>| n.map_or("no class".into(), |n| share(n, f.pictures));
                let (features, pixels) = resemblance(data, circuit, circuit);
                let (honest_features, honest_pixels) = resemblance(data, CLEAN, circuit);
                context! {
                    circuit => circuit.clone(),
                    layer => data.layer_of(circuit),
                    pictures => f.pictures,
                    target => count(f.target),
                    own => count(f.own),
                    similarity_target => number(f.similarity_target),
                    similarity_own => number(f.similarity_own),
                    pixels_target => number(f.pixels_target),
                    pixels_own => number(f.pixels_own),
                    closer => share(f.closer, f.pictures),
                    features => number(features),
                    pixels => number(pixels),
                    honest_features => number(honest_features),
                    honest_pixels => number(honest_pixels),
                    figures => figures.of(Topic::Circuit(circuit.clone())),
                }
            })
            .collect();
        let fooled_units: Vec<Value> = data
            .fooled_units
            .iter()
            .map(|u| {
                let of_unit = data
                    .visualizations
                    .iter()
                    .filter(|v| v.circuit == u.circuit && v.layer == u.layer && v.channel == u.channel);
                context! {
                    circuit => u.circuit.clone(),
                    name => u.name.clone(),
                    before => number(u.auroc_before),
                    after => number(u.auroc_after),
                    jaccard => number(Some(u.jaccard)),
                    top => u.top,
                    ssim => number(mean(of_unit.filter_map(|v| v.ssim_target))),
                }
            })
            .collect();
        let silence: Vec<Value> = gaps(data)
            .into_iter()
            .map(|gap| {
                context! {
                    layer => gap.layer,
                    units => gap.units,
                    never => gap.never,
                    visualized => gap.visualized,
                    beyond => gap.beyond,
                    median => gap.median.map_or(UNDEFINED.into(), |m| format!("{m:.2}")),
                }
            })
            .collect();
        let gate: Vec<Value> = data
            .gate
            .iter()
            .map(|g| {
                context! {
                    circuit => g.circuit.clone(),
                    kind => format!("{} ({}{})", g.kind, g.dataset, if g.seen { ", trained on" } else { "" }),
                    step => g.step.map_or(String::new(), |s| s.to_string()),
                    images => g.images,
                    correct => percent(g.correct),
                    interval => match (g.lower, g.upper) {
                        (Some(low), Some(high)) => format!("{} to {}", percent(low), percent(high)),
                        _ => String::new(),
                    },
                }
            })
            .collect();
        let (mut thirds, mut paths) = (vec![], vec![]);
        for comparison in data.comparisons() {
            let curves = data.layers().into_iter().flat_map(|units| {
                data.circuits_on(&units).into_iter().map(move |circuit| (units.clone(), circuit))
            });
            for (units, circuit) in curves {
                let rows = data.curve(&units, &circuit, &comparison);
                if rows.is_empty() {
                    continue;
                }
                let [early, middle, late] = by_third(&rows);
                let specific = specific_by_third(&rows);
                let measure = format!("{}, {}", comparison.1, comparison.0);
                thirds.push(context! {
                    network => network(&circuit),
                    units => units.clone(),
                    measure => measure.clone(),
                    early => number(early),
                    middle => number(middle),
                    late => number(late),
                    specific => specific.map(number).to_vec(),
                });
                let cells: Vec<Vec<String>> = rows
                    .iter()
                    .map(|r| {
                        let interval = |lower: Option<f64>, upper: Option<f64>| match (lower, upper) {
                            (Some(l), Some(u)) => format!("{l:.3} to {u:.3}"),
                            _ => UNDEFINED.into(),
                        };
                        vec![
                            r.layer.clone(),
                            number(r.natural_same_class),
                            number(r.natural_different_class),
                            number(r.visualization_same_class),
                            number(r.visualization_different_class),
                            number(r.natural_difference),
                            number(r.normalized),
                            interval(r.lower, r.upper),
                            number(r.class_specific),
                            interval(r.class_specific_lower, r.class_specific_upper),
                            number(r.generic),
                            interval(r.generic_lower, r.generic_upper),
                            r.pairs.to_string(),
                        ]
                    })
                    .collect();
                paths.push(context! { title => format!("{}, units of {units}: {measure}", network(&circuit)), rows => cells });
            }
        }

        let mut control_thirds = vec![];
        for (reduction, metric) in data.comparisons() {
            let of = |name: &str| -> Vec<&PathSimilarity> {
                let wanted =
                    |r: &&PathSimilarity| r.circuit == name && r.reduction == reduction && r.metric == metric;
                data.controls.iter().map(|c| &c.0).filter(wanted).collect()
            };
            for name in unique(data.controls.iter().map(|c| c.0.circuit.clone())) {
                let rows = of(&name);
                control_thirds.push(context! {
                    control => name,
                    measure => format!("{metric}, {reduction}"),
                    whole => by_third(&rows).map(number).to_vec(),
                    specific => specific_by_third(&rows).map(number).to_vec(),
                });
            }
        }

        Ok(context! {
            answers => answers(data),
            verdict => verdict(data),
            hardest => hardest_steps(data),
            given => data.visualizations.iter().any(|v| v.ssim_target.is_some()),
            done => what_was_done(&experiment, data),
            circuits => !circuits.is_empty(),
            accuracy,
            surface,
            lies,
            gate,
            fooled_units,
            silence,
            paper => paper(&experiment, &fooled, data),
            thirds,
            paths,
            honest => figures.of(Topic::Honest),
            gaps => figures.of(Topic::Silence),
            curves => figures.of(Topic::Paths),
            controls => figures.of(Topic::Controls),
            control_thirds,
        })
    }
}

/// At which steps each gate recognizes the fewest held-out visualizations.
fn hardest_steps(data: &Data) -> Vec<String> {
    let circuits = unique(data.gate.iter().map(|g| g.circuit.clone()));
    let of = |circuit: &String| {
        let rows = data.gate.iter().filter(|g| g.circuit == *circuit && !g.seen && g.step.is_some());
        let least = rows.min_by(|a, b| a.correct.total_cmp(&b.correct))?;
        let step = least.step?;
        Some(match least.correct {
            1.0 => format!("\"{circuit}\" recognizes them all."),
            correct => format!("\"{circuit}\" recognizes the fewest at step {step}: {}.", percent(correct)),
        })
    };
    circuits.iter().filter_map(of).collect()
}

/// A change of logits.
fn change(value: f64) -> String {
    if value == 0.0 { "0".into() } else { format!("{value:.1e}") }
}

/// What Geirhos et al. (2024) report, and what this run found.
fn paper(experiment: &Experiment, circuits: &[Circuit], data: &Data) -> Vec<Value> {
    let settings = |circuit: &str| circuits.iter().find(|c| c.name() == circuit);
    let mut rows = vec![];
    let mut row = |what: String, paper: &str, ours: String| {
        rows.push(context! { what, paper => paper.to_string(), ours });
    };
    for circuit in data.circuits().iter().filter(|c| *c != CLEAN) {
        for a in data.accuracy.iter().filter(|a| a.circuit == *circuit) {
            let Some(before) = data.accuracy.iter().find(|b| b.circuit == CLEAN && b.dataset == a.dataset)
            else {
                continue;
            };
            let (top1, top5) = match settings(circuit) {
                Some(Circuit::Gate(_)) => ("69.146 % to 68.744 %", "88.858 % to 88.330 %"),
                Some(Circuit::Silent(_)) => ("no change", "no change"),
                // The paper has no such circuit.
                _ => continue,
            };
            let moved = |before, after| format!("{} to {}", percent(before), percent(after));
            row(format!("{circuit}: top-1 on {}", a.dataset), top1, moved(before.top1, a.top1));
            row(format!("{circuit}: top-5 on {}", a.dataset), top5, moved(before.top5, a.top5));
        }
        let trained = |kind: &str| -> usize {
            let rows = data.gate.iter().filter(|g| g.circuit == *circuit && g.kind == kind && g.seen);
            rows.map(|g| g.images).sum()
        };
        if let Some(Circuit::Gate(gate)) = settings(circuit) {
            let ours = match gate.classifier.architecture {
                classifier::Architecture::Paper => "the same, by stochastic gradient descent with momentum",
                _ => "six convolutions of 8 to 48 channels with batch norms, by Adam",
            };
            row(
                format!("{circuit}: the classifier"),
                "six convolutions of 16 to 3 channels and a linear layer, no batch norm",
                ours.into(),
            );
        }
        if trained("visualization") > 0 {
            let ours = format!("{} natural, {} synthetic", trained("natural"), trained("visualization"));
            let what = format!("{circuit}: images the classifier was trained on");
            row(what, "1,281,167 natural, 472,500 synthetic", ours);
        }
        for (kind, what) in [
            ("natural", "natural images the classifier was not trained on, taken for natural"),
            ("visualization", "visualizations of held-out units, all steps, taken for synthetic"),
        ] {
            if let Some(share) = recognized(data, circuit, kind) {
                row(format!("{circuit}: {what}"), "99.49 % (both together)", percent(share));
            }
        }
    }
    let optimization = &experiment.visualization.optimization;
    let ours = format!("{} (at {} px)", optimization.steps, optimization.size);
    row("steps of a visualization".into(), "512", ours);
    if let Some(comparison) = data.comparisons().into_iter().find(|c| c.1 == "spearman")
        && let Some(units) = data.layer_of(CLEAN)
    {
        let [early, middle, late] = by_third(&data.curve(units, CLEAN, &comparison)).map(number);
        let what = "normalized similarity of honest visualizations in early, middle and late layers";
        row(
            what.into(),
            "near 0 for two thirds of the layers, then rising",
            format!("{early}, {middle}, {late}"),
        );
    }
    rows
}

/// The experiment in a sentence or two.
fn what_was_done(experiment: &Experiment, data: &Data) -> String {
    let optimization = &experiment.visualization.optimization;
    let units = data.layer_of(CLEAN).unwrap_or_default();
    let mut classes: Vec<usize> =
        data.visualizations.iter().filter(|v| v.layer == units).map(|v| v.channel).collect();
    classes.sort_unstable();
    classes.dedup();
    let layers = data.comparisons().first().map_or(0, |c| data.curve(units, CLEAN, c).len());
    let network = data.accuracy.first().map_or("the network", |a| a.network.as_str());
    format!(
        "The units of {} classes of {} were visualized {} times each ({} steps at {} px, {} parameterization), and \
         their activations at {layers} layers compared with those of {} natural images of each class.",
        classes.len(),
        network,
        experiment.visualization.per_class,
        optimization.steps,
        optimization.size,
        optimization.parameterization,
        experiment.paths.images_per_class,
    )
}
