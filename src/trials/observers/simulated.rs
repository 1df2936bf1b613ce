//! Observers that check the trials and not the network: one that knows, and one that guesses.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::{PERMUTATIONS, best, guess, possible, response};
use crate::error::Result;
use crate::progress;
use crate::tables::{CLEAN, read};
use crate::trials::plan::{Answer, Matching, Plan, Question, Trial};
use crate::trials::responses::{Kind, Response};
use crate::trials::stimuli;
use crate::trials::tables::Stimulus;
use crate::trials::work::{Work, rows};

pub const IDEAL: &str = "ideal";
pub const RANDOM: &str = "random";

/// The ideal observer does not look into the key: it knows of every picture which units it is shown for, and measures
/// what the two queries do to the unit. It must always be right. The random one guesses every trial.
pub(super) fn answer(work: &Work, plan: &Plan, trials: &[&Trial], folder: &Path) -> Result<Vec<Response>> {
    let provenance = read::<Stimulus>(folder)?;
    let mut shown: HashMap<(&str, &str), HashSet<(&str, usize)>> = HashMap::new();
    for s in provenance.iter().filter(|s| ["exemplar", "visualization"].contains(&s.kind.as_str())) {
        shown.entry((&s.file, &s.circuit)).or_default().insert((&s.layer, s.channel));
    }
    let measured = measure(work, trials, folder)?;
    let mut all = vec![];
    for trial in trials {
        let known = match &trial.question {
            Question::Exemplar(m) | Question::Visualization(m) => recognize(m, |file, unit| {
                let about =
                    |circuit: &str| shown.get(&(file, circuit)).is_some_and(|units| units.contains(&unit));
                about(&trial.circuit) || about(CLEAN)
            }),
            Question::Occlusion(_) => {
                let values = measured[trial.id.as_str()];
                best([0, 1].map(|q| (Answer::Query(q), -f64::from(values[q]))).to_vec())
            }
        };
        let known = known.unwrap_or_else(|tied| guess(plan.seed, IDEAL, trial, &tied));
        all.push(response(IDEAL, Kind::Simulated, trial, known));
        let guessed = guess(plan.seed, RANDOM, trial, &possible(trial));
        all.push(response(RANDOM, Kind::Simulated, trial, guessed));
    }
    Ok(all)
}

/// Puts rows together whose pictures are about the same of the trial's units.
fn recognize(m: &Matching, about: impl Fn(&str, (&str, usize)) -> bool) -> Result<Answer, Vec<Answer>> {
    let unit = |i: usize| (m.units[i].layer.as_str(), m.units[i].channel);
    let fits = |row: &[String], i: usize| row.iter().filter(|file| about(file, unit(i))).count();
    let score = |p: &[usize; 3]| -> f64 {
        (0..3)
            .map(|left| {
                let most = (0..3).map(|i| fits(&m.left[left], i) + fits(&m.right[p[left]], i)).max();
                most.unwrap_or(0) as f64
            })
            .sum()
    };
    best(PERMUTATIONS.iter().map(|p| (Answer::Rows(*p), score(p))).collect())
}

/// The activation of the unit for both queries, measured anew from the files.
fn measure<'a>(work: &Work, trials: &[&'a Trial], folder: &Path) -> Result<HashMap<&'a str, [f32; 2]>> {
    let occlusions: Vec<(&str, &crate::trials::plan::Occlusion)> = trials
        .iter()
        .filter_map(|t| match &t.question {
            Question::Occlusion(o) => Some((t.id.as_str(), o)),
            _ => None,
        })
        .collect();
    // Trials with the same query under other references are measured once.
    let mut pairs: Vec<(&crate::visualize::Unit, &[String; 2])> = vec![];
    let mut known: HashMap<(String, &[String; 2]), usize> = HashMap::new();
    let mut at = vec![];
    for (_, o) in &occlusions {
        let key = (o.unit.to_string(), &o.queries);
        let next = known.len();
        let place = *known.entry(key).or_insert(next);
        if place == pairs.len() {
            pairs.push((&o.unit, &o.queries));
        }
        at.push(place);
    }
    let bar = progress::bar("the ideal observer measures", pairs.len());
    let focus = work.study.experiment.visualization.focus;
    let executor = &work.setting.executor;
    let values = executor.run(&pairs, 1, &bar, |pair| {
        let (unit, queries) = pair[0];
        let mut values = [0.0; 2];
        for (value, file) in values.iter_mut().zip(queries) {
            let image = stimuli::read(folder, file)?;
            let input = crate::data::Preprocessing::tensor([&image], executor.device());
            let input = work.study.experiment.preprocessing.apply(input);
            let reading = focus.on(&work.network, &unit.layer)?;
            let map = work.network.capture(input, &[&unit.layer])?.remove(0);
            *value = rows(reading.of(map))[0][unit.channel];
        }
        Ok(vec![values])
    })?;
    bar.end();
    Ok(occlusions.iter().zip(at).map(|(&(id, _), place)| (id, values[place])).collect())
}
