//! The numbers that sum up a results folder: what the terminal and the report show first, and what a baseline holds.

use super::figures::Data;
use super::tables::{CLEAN, PathSimilarity};
use crate::path::{Third, thirds};

fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.into_iter().collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Means of the normalized similarity over early, middle and late layers.
pub fn by_third(rows: &[&PathSimilarity]) -> [Option<f64>; 3] {
    let thirds = thirds(rows.len());
    [Third::Early, Third::Middle, Third::Late].map(|third| {
        mean(rows.iter().zip(&thirds).filter(|(_, t)| **t == third).filter_map(|(r, _)| r.normalized))
    })
}

/// The rows of one curve.
pub fn curve<'a>(data: &'a Data, circuit: &str, comparison: &(String, String)) -> Vec<&'a PathSimilarity> {
    data.paths
        .iter()
        .filter(|r| r.circuit == circuit && (&r.reduction, &r.metric) == (&comparison.0, &comparison.1))
        .collect()
}

/// How far the pictures of a circuit lie.
pub struct Fooling {
    pub pictures: usize,
    /// Pictures that the honest network sees as the target class, and as their own.
    pub target: usize,
    pub own: usize,
    pub similarity_target: Option<f64>,
    pub similarity_own: Option<f64>,
    /// Pictures that are more similar to the target's honest pictures than to their own unit's.
    pub closer: usize,
}

/// Counts the pictures of a circuit that show the target rather than their own class.
pub fn fooling(data: &Data, circuit: &str) -> Fooling {
    let rows: Vec<_> = data.visualizations.iter().filter(|v| v.circuit == circuit).collect();
    Fooling {
        pictures: rows.len(),
        target: rows.iter().filter(|v| v.shows == v.target).count(),
        own: rows.iter().filter(|v| v.shows == v.class).count(),
        similarity_target: mean(rows.iter().filter_map(|v| v.similarity_target)),
        similarity_own: mean(rows.iter().filter_map(|v| v.similarity_own)),
        closer: rows
            .iter()
            .filter(|v| matches!((v.similarity_target, v.similarity_own), (Some(t), Some(o)) if t > o))
            .count(),
    }
}

/// The share of images that a gate recognizes as what they are, `natural` or `visualization`.
pub fn recognized(data: &Data, circuit: &str, kind: &str) -> Option<f64> {
    let rows = || data.gate.iter().filter(|g| g.circuit == circuit && g.kind == kind);
    let images: usize = rows().map(|g| g.images).sum();
    let right: f64 = rows().map(|g| g.correct * g.images as f64).sum();
    (images > 0).then(|| right / images as f64)
}

/// Every number that a baseline can hold, by name.
pub fn metrics(data: &Data) -> Vec<(String, f64)> {
    let mut all = vec![];
    for a in &data.accuracy {
        all.push((format!("top1 [{}, {}]", a.circuit, a.dataset), a.top1));
    }
    for circuit in data.circuits().iter().filter(|c| *c != CLEAN) {
        for kind in ["natural", "visualization"] {
            let value = recognized(data, circuit, kind);
            all.extend(value.map(|v| (format!("recognized [{circuit}, {kind}]"), v)));
        }
        let fooling = fooling(data, circuit);
        let share = |n: usize| n as f64 / fooling.pictures.max(1) as f64;
        all.push((format!("seen as target [{circuit}]"), share(fooling.target)));
        all.push((format!("closer to target [{circuit}]"), share(fooling.closer)));
    }
    for comparison in data.comparisons() {
        for circuit in data.circuits() {
            let values = by_third(&curve(data, &circuit, &comparison));
            for (third, value) in ["early", "middle", "late"].into_iter().zip(values) {
                let name =
                    format!("normalized similarity [{circuit}, {}, {}, {third}]", comparison.1, comparison.0);
                all.extend(value.map(|v| (name, v)));
            }
        }
    }
    all
}
