//! Observers that need no recruiting: models that compare pictures, baselines that look at the occluders alone, and
//! simulated ones that check the trials.

mod baselines;
mod looks;
mod simulated;

use std::collections::HashMap;
use std::path::Path;

use rand::RngExt;

use super::plan::{Answer, Matching, Occlusion, Plan, Purpose, Question, References, Trial};
use super::responses::{Kind, Response};
use super::work::Work;
use crate::error::Result;
use crate::network::Network;
use crate::progress;
use crate::seed;
use crate::statistics;
pub(super) use looks::other;
use looks::{Look, Looks, Other};

/// The order of answers to a matching trial: a choice is made among the first that are equally good.
const PERMUTATIONS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// Lets every observer answer every trial but those for practice.
pub(super) fn answer(
    work: &Work,
    other: Option<&Other>,
    plan: &Plan,
    folder: &Path,
) -> Result<Vec<Response>> {
    let trials: Vec<&Trial> = plan.trials.iter().filter(|t| t.purpose != Purpose::Practice).collect();
    let looks = looks::look(work, other, &trials, folder)?;
    let mut all = vec![];
    for look in looks.names() {
        let bar = progress::bar(&format!("observer {look}"), trials.len());
        for trial in &trials {
            let answer = compare(&looks, look, trial)
                .unwrap_or_else(|tied| guess(plan.seed, &look.to_string(), trial, &tied));
            all.push(response(&look.to_string(), Kind::Model, trial, answer));
            bar.advance(1);
        }
        bar.end();
    }
    all.extend(baselines::answer(plan, &trials, folder)?);
    all.extend(simulated::answer(work, plan, &trials, folder)?);
    Ok(all)
}

fn response(observer: &str, kind: Kind, trial: &Trial, answer: Answer) -> Response {
    Response {
        observer: observer.into(),
        kind,
        trial: trial.id.clone(),
        answer,
        confidence: None,
        milliseconds: None,
        at: None,
    }
}

/// The answer that similarity gives, or those that are equally good.
fn compare(looks: &Looks, look: &Look, trial: &Trial) -> Result<Answer, Vec<Answer>> {
    match &trial.question {
        Question::Exemplar(m) | Question::Visualization(m) => {
            best(PERMUTATIONS.map(|p| (Answer::Rows(p), matched(looks, look, m, p))).to_vec())
        }
        Question::Occlusion(o) => {
            // The occlusion that takes more of what the references have in common lowers the activation more.
            best([0, 1].map(|q| (Answer::Query(q), -resemblance(looks, look, o, q))).to_vec())
        }
    }
}

/// The answer with the largest score, or all that share it.
fn best(scores: Vec<(Answer, f64)>) -> Result<Answer, Vec<Answer>> {
    let largest = scores.iter().map(|(_, s)| *s).fold(f64::NEG_INFINITY, f64::max);
    let best: Vec<Answer> = scores.into_iter().filter(|(_, s)| *s == largest).map(|(a, _)| a).collect();
    match best[..] {
        [only] => Ok(only),
        _ => Err(best),
    }
}

/// How alike the rows are that a permutation puts together: the mean over pairs of images.
fn matched(looks: &Looks, look: &Look, m: &Matching, permutation: [usize; 3]) -> f64 {
    let pairs = permutation.iter().enumerate().flat_map(|(left, &right)| {
        m.left[left].iter().flat_map(move |a| m.right[right].iter().map(move |b| (a, b)))
    });
    mean(pairs.map(|(a, b)| looks.similarity(look, a, b)))
}

/// How alike a query and its references are.
fn resemblance(looks: &Looks, look: &Look, o: &Occlusion, query: usize) -> f64 {
    if o.references == References::None {
        return 0.0;
    }
    mean(o.shown.iter().map(|reference| looks.similarity(look, &o.queries[query], reference)))
}

/// The mean of what is defined; what has no similarity is as alike as anything.
fn mean(values: impl Iterator<Item = Option<f64>>) -> f64 {
    statistics::mean(values.map(|v| v.unwrap_or(0.0))).unwrap_or(0.0)
}

/// One of several answers, drawn with the seed: who can't tell guesses.
fn guess(seed: u64, observer: &str, trial: &Trial, among: &[Answer]) -> Answer {
    let mut rng = seed::rng(seed, &("guess", observer, &trial.id));
    among[rng.random_range(0..among.len())]
}

/// All answers to a trial.
fn possible(trial: &Trial) -> Vec<Answer> {
    match trial.question {
        Question::Occlusion(_) => vec![Answer::Query(0), Answer::Query(1)],
        _ => PERMUTATIONS.map(Answer::Rows).to_vec(),
    }
}

/// Pictures by file.
type ByFile<T> = HashMap<String, T>;

/// A network that looks at pictures, and the layers that it compares.
pub(super) struct Viewer<'a> {
    pub network: &'a Network,
    pub layers: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trials::plan::tests::matching;

    #[test]
    fn the_best_permutation_is_answered_and_ties_are_told() {
        let trial = matching("a", [2, 0, 1]);
        let Question::Exemplar(m) = &trial.question else { panic!() };
        // Pictures as points on a line: what is on the right lies where its left one does.
        let mut pixels = HashMap::new();
        for (row, place) in [(0usize, 1f32), (1, 5.0), (2, 9.0)] {
            let vector = |shift: f32| vec![(place + shift).cos(), (place + shift).sin(), 0.0];
            pixels.insert(m.left[row][0].clone(), vector(0.0));
            pixels.insert(m.right[m.key[row]][0].clone(), vector(0.2));
        }
        let looks = Looks::of_vectors(Look::Colours, pixels.clone());
        assert_eq!(compare(&looks, &Look::Colours, &trial), Ok(Answer::Rows([2, 0, 1])));
        // All alike: any answer is as good.
        let alike = pixels.into_keys().map(|file| (file, vec![1.0, 1.0])).collect();
        let looks = Looks::of_vectors(Look::Colours, alike);
        let tied = compare(&looks, &Look::Colours, &trial).unwrap_err();
        assert_eq!(tied.len(), 6);
        let guesses: Vec<Answer> = (0..3000).map(|seed| guess(seed, "x", &trial, &tied)).collect();
        // Each of six answers 500 times, give or take five standard deviations.
        let counts = tied.iter().map(|answer| guesses.iter().filter(|g| *g == answer).count());
        assert!(counts.clone().all(|n| (398..602).contains(&n)), "{:?}", counts.collect::<Vec<_>>());
    }
}
