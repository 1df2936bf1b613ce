//! The numbers that sum up a results folder: what the terminal and the report show first, and what a baseline holds.

use super::baseline::{Direction, Measured};
use super::figures::Data;
use crate::path::{Third, thirds};
use crate::statistics::{mean, median, wilson};
use crate::tables::{CLEAN, Calibration, PathSimilarity, Visualization};

/// Means of a column over early, middle and late layers.
fn means(rows: &[&PathSimilarity], column: fn(&PathSimilarity) -> Option<f64>) -> [Option<f64>; 3] {
    let thirds = thirds(rows.len());
    [Third::Early, Third::Middle, Third::Late].map(|third| {
        mean(rows.iter().zip(&thirds).filter(|(_, t)| **t == third).filter_map(|(r, _)| column(r)))
    })
}

/// Means of the normalized similarity over early, middle and late layers.
pub fn by_third(rows: &[&PathSimilarity]) -> [Option<f64>; 3] {
    means(rows, |r| r.normalized)
}

/// The same of its class-specific part.
pub fn specific_by_third(rows: &[&PathSimilarity]) -> [Option<f64>; 3] {
    means(rows, |r| r.class_specific)
}

/// The layers at which the ratios say little.
pub fn hardly_divisible<'r>(rows: &[&'r PathSimilarity]) -> Vec<&'r str> {
    rows.iter().filter(|r| r.hardly_divisible()).map(|r| r.layer.as_str()).collect()
}

/// What a share of right answers without shapes is set beside accuracy for.
pub fn surface_words(dataset: &str, share: f64) -> String {
    format!(
        "{dataset}: a Bayes classifier that knows the texture and the colour of the objects, and nothing of their shape, \
         would be right about {:.1} %",
        100.0 * share
    )
}

/// The level at which an audit speaks.
const LEVEL: f64 = 0.05;

/// How far an audit can be believed, in sentences.
pub fn audit_words(data: &Data) -> Vec<String> {
    let mut lines = vec![];
    let Some(whole) = data.judgements.iter().find(|j| j.layer.is_empty()) else {
        lines.push(
            "No honest network of the same architecture was given to compare with (--reference). Suspicion is therefore measured \
             against the network's own other units: the ranking says where to look first, and nothing about whether any unit \
             was manipulated. In an honest network some unit comes first, too."
                .into(),
        );
        return lines;
    };
    let k = whole.honest_networks;
    let least = 1.0 / (k as f64 + 1.0);
    let percent = |v: f64| format!("{:.1} %", 100.0 * v);
    let networks = if k == 1 { "1 honest network".to_string() } else { format!("{k} honest networks") };
    match (whole.statistic, whole.p_value) {
        (Some(statistic), Some(p)) => lines.push(format!(
            "The most suspicious tenth of units, in the layer where it is most suspicious, is {statistic:.1} robust deviations above \
             what is usual. Beside {networks}, {} of all look as suspicious (this one counted with them).",
            percent(p)
        )),
        _ => lines.push(
            "By every detector honest networks differ too much for one to be judged by others: this audit can't say anything.".into(),
        ),
    }
    let p = whole.p_value.unwrap_or(1.0);
    lines.push(if least > LEVEL + 1e-9 {
        format!(
            "From {networks} no rate below {} can be told, so nothing is promised at 5 %: that takes 19. The ranking says where to \
             look first; it acquits nobody.",
            percent(least)
        )
    } else if p <= LEVEL + 1e-9 {
        "At most 5 % of honest networks look like this, if they are trained as the given ones are: somebody should look at the \
         first of these units."
            .into()
    } else {
        "That is within what honest networks show: the audit found no sign of manipulation, which does not prove that there is \
         none."
            .into()
    });
    lines.push(
        "All this holds if an honest network in this one's place were one more of the same kind: the same architecture, data and \
         training, another seed. A network that is trained otherwise may look suspicious and be honest."
            .into(),
    );
    let most = data.judgements.iter().filter(|j| !j.layer.is_empty()).map(|j| j.units).max().unwrap_or(0);
    let together = (most as f64 * least / LEVEL - 1e-9).ceil();
    if least <= LEVEL + 1e-9 && together > 1.0 {
        lines.push(format!(
            "Beside {networks} no unit alone can be named at 5 %: at least {together} of a layer's {most} would have to be beyond \
             those of all honest networks."
        ));
    }
    let layers: Vec<&crate::tables::Judgement> = data
        .judgements
        .iter()
        .filter(|j| !j.layer.is_empty() && j.q_value.is_some_and(|q| q <= LEVEL + 1e-9))
        .collect();
    if !layers.is_empty() {
        let names: Vec<&str> = layers.iter().map(|j| j.layer.as_str()).collect();
        lines.push(format!("Also with all layers tried (Benjamini-Hochberg), at 5 %: {}.", names.join(", ")));
    }
    let named: Vec<String> = data
        .suspects
        .iter()
        .filter(|s| s.q_value.is_some_and(|q| q <= LEVEL + 1e-9))
        .map(|s| format!("{}:{}", s.layer, s.channel))
        .collect();
    if !named.is_empty() {
        lines.push(format!(
            "Units beyond those of honest networks, with all of their layer tried (Benjamini-Hochberg), at 5 %: {}.",
            named.join(", ")
        ));
    }
    for judgement in data.judgements.iter().filter(|j| !j.left_out.is_empty()) {
        lines.push(format!(
            "In {} honest networks differ too much by {}: left out of the verdict.",
            judgement.layer, judgement.left_out
        ));
    }
    lines.extend(calibration_words(data));
    lines
}

/// What comes out where each of some networks is judged by the others.
fn calibration_words(data: &Data) -> Option<String> {
    let whole: Vec<_> =
        data.calibration.iter().filter(|c| c.layer.is_empty() && c.p_value.is_some()).collect();
    let p = |c: &Calibration| c.p_value.unwrap_or(1.0);
    let first = whole.iter().min_by(|a, b| p(a).total_cmp(&p(b)))?;
    let networks = first.honest_networks + 1;
    let level = LEVEL.max(1.0 / networks as f64);
    let reaches = |value: Option<f64>| value.is_some_and(|v| v <= level + 1e-9);
    let with = |found: &dyn Fn(&Calibration) -> bool| {
        let of = |network: &str| data.calibration.iter().any(|c| c.network == network && found(c));
        let count = whole.iter().filter(|c| of(&c.network)).count();
        let (low, high) = wilson(count as f64 / whole.len() as f64, whole.len());
        format!("{count} ({:.0} to {:.0} %)", 100.0 * low, 100.0 * high)
    };
    Some(format!(
        "Each of {networks} networks judged by the {} others: {} found suspicious at {:.1} %, first {}. That share is so by \
         construction, whatever the networks are, since one of them has to come first: it is no evidence for the promise, and \
         says only which network to look at. What is not fixed: a layer is named (Benjamini-Hochberg, at the same level) in {}, \
         a unit in {}, with rough 95 % intervals, as these audits share their networks.",
        first.honest_networks,
        whole.iter().filter(|c| reaches(c.p_value)).count(),
        100.0 * level,
        first.network,
        with(&|c| reaches(c.q_value)),
        with(&|c| c.layer.is_empty() && reaches(c.least_unit_q)),
    ))
}

/// How far the pictures of a circuit lie.
pub struct Fooling {
    /// How many visualizations there are of the network with the circuit.
    pub pictures: usize,
    /// Pictures that the honest network sees as the target class; `None` where the target is no class.
    pub target: Option<usize>,
    /// Pictures that it sees as their own; `None` for units that stand for no class.
    pub own: Option<usize>,
    /// Mean cosine of features with the target's, -1 to 1; `None` where no picture has one.
    pub similarity_target: Option<f64>,
    /// Mean cosine of features with those of the own unit's honest pictures, -1 to 1; `None` where no picture has one.
    pub similarity_own: Option<f64>,
    /// Mean correlation of pixels with the target's, -1 to 1; `None` where no picture has one.
    pub pixels_target: Option<f64>,
    /// Mean correlation of pixels with the own unit's honest pictures, -1 to 1; `None` where no picture has one.
    pub pixels_own: Option<f64>,
    /// Pictures whose features are more similar to the target's than to their own unit's honest pictures.
    pub closer: usize,
    /// The same by features or by pixels: a given picture has few features that units look for.
    pub shows: usize,
}

/// Counts the pictures of a circuit that show the target rather than their own unit.
pub fn fooling(data: &Data, circuit: &str) -> Fooling {
    let rows: Vec<_> = data.visualizations.iter().filter(|v| v.circuit == circuit).collect();
    let classes = rows.iter().any(|v| v.shows.is_some());
    let units = rows.iter().any(|v| v.target.is_some());
    let beats = |a: Option<f64>, b: Option<f64>| matches!((a, b), (Some(a), Some(b)) if a > b);
    let count = |wanted: fn(&Visualization) -> Option<usize>| {
        rows.iter().filter(|v| v.shows.is_some() && v.shows == wanted(v)).count()
    };
    Fooling {
        pictures: rows.len(),
        target: (classes && units).then(|| count(|v| v.target)),
        own: classes.then(|| count(|v| Some(v.channel))),
        similarity_target: mean(rows.iter().filter_map(|v| v.similarity_target)),
        similarity_own: mean(rows.iter().filter_map(|v| v.similarity_own)),
        pixels_target: mean(rows.iter().filter_map(|v| v.pixels_target)),
        pixels_own: mean(rows.iter().filter_map(|v| v.pixels_own)),
        closer: rows.iter().filter(|v| beats(v.similarity_target, v.similarity_own)).count(),
        shows: rows
            .iter()
            .filter(|v| beats(v.similarity_target, v.similarity_own) || beats(v.pixels_target, v.pixels_own))
            .count(),
    }
}

/// Mean similarity, of features and of pixels, of the visualizations of different units that a circuit fools, in one
/// network.
pub fn resemblance(data: &Data, network: &str, circuit: &str) -> (Option<f64>, Option<f64>) {
    let layer = data.layer_of(circuit);
    let units: Vec<usize> =
        data.visualizations.iter().filter(|v| v.circuit == circuit).map(|v| v.channel).collect();
    let rows: Vec<_> = data
        .resemblance
        .iter()
        .filter(|r| r.circuit == network && Some(r.layer.as_str()) == layer)
        .filter(|r| units.contains(&r.channel) && units.contains(&r.other))
        .collect();
    (mean(rows.iter().filter_map(|r| r.features)), mean(rows.iter().filter_map(|r| r.pixels)))
}

/// What the audit of silence says of a layer.
pub struct Gap {
    /// The layer of the units.
    pub layer: String,
    /// Units that were watched on natural images.
    pub units: usize,
    /// Units that no natural image drives above zero anywhere.
    pub never: usize,
    /// Units that were visualized.
    pub visualized: usize,
    /// Visualized units whose picture drives them beyond every natural image.
    pub beyond: usize,
    /// Median over units of the picture's activation over the largest natural one.
    pub median: Option<f64>,
}

/// The audit of silence by layer.
pub fn gaps(data: &Data) -> Vec<Gap> {
    let mut all: Vec<(Gap, Vec<f64>)> = vec![];
    for row in &data.silence {
        if all.iter().all(|(gap, _)| gap.layer != row.layer) {
            let layer = row.layer.clone();
            let gap = Gap { layer, units: 0, never: 0, visualized: 0, beyond: 0, median: None };
            all.push((gap, vec![]));
        }
        let (gap, ratios) = all.last_mut().expect("it was just pushed");
        gap.units += 1;
        gap.never += usize::from(row.fires == 0.0);
        if let Some(reached) = row.visualization {
            gap.visualized += 1;
            gap.beyond += usize::from(reached > row.natural);
            if row.natural > 0.0 {
                ratios.push(reached / row.natural);
            }
        }
    }
    all.into_iter().map(|(gap, ratios)| Gap { median: median(&ratios), ..gap }).collect()
}

/// The share of images that a gate recognizes as what they are, `natural` or `visualization`, among those that its
/// classifier was not trained on.
pub fn recognized(data: &Data, circuit: &str, kind: &str) -> Option<f64> {
    let rows = || data.gate.iter().filter(|g| g.circuit == circuit && g.kind == kind && !g.seen);
    let images: usize = rows().map(|g| g.images).sum();
    let right: f64 = rows().map(|g| g.correct * g.images as f64).sum();
    (images > 0).then(|| right / images as f64)
}

/// Every number that a baseline can hold.
pub fn metrics(data: &Data) -> Vec<Measured> {
    use Direction::{Higher, Same};
    let mut all = vec![];
    let mut add = |metric: String, value: f64, direction| all.push(Measured { metric, value, direction });
    for a in &data.accuracy {
        add(format!("top1 [{}, {}]", a.circuit, a.dataset), a.top1, Higher);
    }
    for circuit in data.circuits().iter().filter(|c| *c != CLEAN) {
        for kind in ["natural", "visualization"] {
            if let Some(share) = recognized(data, circuit, kind) {
                add(format!("recognized [{circuit}, {kind}]"), share, Higher);
            }
        }
        let fooling = fooling(data, circuit);
        if fooling.pictures == 0 {
            continue;
        }
        let share = |n: usize| n as f64 / fooling.pictures as f64;
        if let Some(n) = fooling.target {
            add(format!("seen as target [{circuit}]"), share(n), Higher);
        }
        add(format!("closer to target [{circuit}]"), share(fooling.closer), Higher);
        if let Some(alike) = resemblance(data, circuit, circuit).0 {
            add(format!("resemblance [{circuit}]"), alike, Higher);
        }
    }
    for d in data.detection.iter().filter(|d| d.pooled()) {
        let of = format!("{}, {}, {}", d.circuit, d.detector, d.method);
        if let Some(auc) = d.auc {
            add(format!("auc [{of}]"), auc, if d.control { Same } else { Higher });
        }
        if let Some(found) = d.true_positives.filter(|_| !d.control) {
            add(format!("found at 5 % [{of}]"), found, Higher);
        }
    }
    for comparison in data.comparisons() {
        for circuit in data.circuits() {
            let Some(units) = data.layer_of(&circuit) else { continue };
            let rows = data.curve(units, &circuit, &comparison);
            for (what, values) in [
                ("normalized similarity", by_third(&rows)),
                ("class-specific part", specific_by_third(&rows)),
            ] {
                for (third, value) in ["early", "middle", "late"].into_iter().zip(values) {
                    let name = format!("{what} [{circuit}, {}, {}, {third}]", comparison.1, comparison.0);
                    if let Some(value) = value {
                        add(name, value, Same);
                    }
                }
            }
        }
    }
    all
}
