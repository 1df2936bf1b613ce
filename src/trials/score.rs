//! How often observers are right: people and models alike.

use std::collections::BTreeMap;
use std::fmt::Debug;

use rand::RngExt;

use super::plan::{Plan, Purpose, Question, References, Task, Trial};
use super::responses::{Kind, Response};
use super::tables;
use crate::seed;
use crate::statistics::{self, wilson};
use crate::tables::CLEAN;

/// All people together.
pub const PEOPLE: &str = "people";

/// Bootstrap samples for an interval.
const SAMPLES: usize = 1000;

/// A trial with an observer's answer to it.
#[derive(Clone, Copy)]
struct Answered<'a> {
    trial: &'a Trial,
    right: usize,
}

/// Right answers among questions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Share {
    pub trials: usize,
    pub questions: usize,
    pub right: usize,
    pub lower: f64,
    pub upper: f64,
}

impl Share {
    pub fn accuracy(&self) -> f64 {
        self.right as f64 / self.questions.max(1) as f64
    }
}

/// Each observer's answers; those of people also together.
fn by_observer<'a>(plan: &'a Plan, responses: &[Response]) -> Vec<(String, Kind, Vec<Answered<'a>>)> {
    let trials = plan.by_id();
    let mut all: BTreeMap<(Kind, String), Vec<Answered>> = BTreeMap::new();
    let mut people = vec![];
    for response in responses {
        let Some(trial) = trials.get(response.trial.as_str()) else { continue };
        let Ok(right) = trial.right(response.answer) else { continue };
        let answered = Answered { trial, right };
        all.entry((response.kind, response.observer.clone())).or_default().push(answered);
        if response.kind == Kind::Person {
            people.push(answered);
        }
    }
    let several = all.keys().filter(|(kind, _)| *kind == Kind::Person).count() > 1;
    let people = several.then(|| (PEOPLE.to_string(), Kind::Person, people));
    let each = all.into_iter().map(|((kind, observer), answered)| (observer, kind, answered));
    people.into_iter().chain(each).collect()
}

/// The share of right answers. Answers that have something in common are not independent, so what is drawn for the
/// bootstrap is whole: units with all their occlusion trials, and in matching the three units that meet. Where all of
/// these agree, which leaves a bootstrap no width, Wilson's interval over them.
fn share(answered: &[Answered], seed: u64, purpose: &impl Debug) -> Share {
    let mut clusters: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for a in answered {
        let (right, questions) = clusters.entry(a.trial.subject()).or_default();
        *right += a.right;
        *questions += a.trial.questions();
    }
    let clusters: Vec<(usize, usize)> = clusters.into_values().collect();
    let (lower, upper) = interval(&clusters, seed, purpose);
    Share {
        trials: answered.len(),
        questions: clusters.iter().map(|c| c.1).sum(),
        right: clusters.iter().map(|c| c.0).sum(),
        lower,
        upper,
    }
}

fn ratio((right, questions): (usize, usize)) -> f64 {
    right as f64 / questions.max(1) as f64
}

fn add(a: (usize, usize), b: &(usize, usize)) -> (usize, usize) {
    (a.0 + b.0, a.1 + b.1)
}

/// How much larger the share of right answers is in `one` than in `other`, and its 95 % interval: a bootstrap of what
/// has something in common, drawn in both at once. None where either lacks what the other has.
fn difference(one: &[Answered], other: &[Answered], seed: u64, purpose: &impl Debug) -> Option<[f64; 3]> {
    let mut clusters: BTreeMap<String, [(usize, usize); 2]> = BTreeMap::new();
    for (side, answered) in [one, other].into_iter().enumerate() {
        for a in answered {
            let both = clusters.entry(a.trial.subject()).or_default();
            both[side] = add(both[side], &(a.right, a.trial.questions()));
        }
    }
    let clusters: Vec<[(usize, usize); 2]> = clusters.into_values().collect();
    let n = clusters.len();
    if n < 2 || clusters.iter().any(|both| both.iter().any(|c| c.1 == 0)) {
        return None;
    }
    let of = |drawn: &mut dyn Iterator<Item = usize>| {
        let sums =
            drawn.fold([(0, 0); 2], |sum, i| [add(sum[0], &clusters[i][0]), add(sum[1], &clusters[i][1])]);
        ratio(sums[0]) - ratio(sums[1])
    };
    let mut rng = seed::rng(seed, purpose);
    let values: Vec<f64> = (0..SAMPLES).map(|_| of(&mut (0..n).map(|_| rng.random_range(0..n)))).collect();
    let (lower, upper) = statistics::interval(&values)?;
    Some([of(&mut (0..n)), lower, upper])
}

/// The 95 % interval of right answers among questions, in clusters.
fn interval(clusters: &[(usize, usize)], seed: u64, purpose: &impl Debug) -> (f64, f64) {
    let n = clusters.len();
    let all = ratio(clusters.iter().fold((0, 0), add));
    if clusters.iter().all(|&c| ratio(c) == all) {
        return wilson(all, n);
    }
    let mut rng = seed::rng(seed, purpose);
    let values: Vec<f64> = (0..SAMPLES)
        .map(|_| ratio((0..n).map(|_| &clusters[rng.random_range(0..n)]).fold((0, 0), add)))
        .collect();
    statistics::interval(&values).expect("there are samples")
}

/// The accuracy of every observer, by task, network, depth and whatever else differs between trials.
pub fn accuracy(plan: &Plan, responses: &[Response]) -> Vec<tables::Accuracy> {
    let thirds = thirds(plan);
    let mut rows = vec![];
    for (observer, kind, answered) in by_observer(plan, responses) {
        for (task, circuit) in
            Task::ALL.into_iter().flat_map(|t| plan.circuits().into_iter().map(move |c| (t, c)))
        {
            for purpose in [Purpose::Main, Purpose::Catch] {
                let of = |a: &&Answered| {
                    a.trial.task() == task && a.trial.circuit == circuit && a.trial.purpose == purpose
                };
                let of: Vec<Answered> = answered.iter().filter(of).copied().collect();
                let mut row = |depth: &str, by: &str, level: String, chosen: &dyn Fn(&Trial) -> bool| {
                    let at = |a: &&Answered| (depth == "all" || a.trial.depth == depth) && chosen(a.trial);
                    let chosen: Vec<Answered> = of.iter().filter(at).copied().collect();
                    if chosen.is_empty() {
                        return;
                    }
                    let words = (&observer, task.name(), &circuit, depth, by, &level);
                    let share = share(&chosen, plan.seed, &("interval", words));
                    rows.push(tables::Accuracy {
                        observer: observer.clone(),
                        kind: kind.name().into(),
                        task: task.name().into(),
                        circuit: circuit.clone(),
                        purpose: if purpose == Purpose::Main { "main" } else { "catch" }.into(),
                        depth: depth.into(),
                        by: by.into(),
                        level,
                        trials: share.trials,
                        questions: share.questions,
                        right: share.right,
                        accuracy: share.accuracy(),
                        lower: share.lower,
                        upper: share.upper,
                        chance: task.chance(),
                    });
                };
                if purpose == Purpose::Catch {
                    row("all", "all", "all".into(), &|_| true);
                    continue;
                }
                for depth in ["all".to_string()].iter().chain(&plan.depths) {
                    row(depth, "all", "all".into(), &|_| true);
                    for condition in plan.conditions(task) {
                        row(depth, "condition", condition.clone(), &|t| t.condition() == condition);
                    }
                    if task == Task::Occlusion {
                        for side in sides(plan) {
                            row(depth, "occluder", side.clone(), &|t| side_of(t).as_ref() == Some(&side));
                        }
                    }
                }
                for layer in layers(plan) {
                    row("all", "layer", layer.clone(), &|t| *layer_of(t) == layer);
                }
                for (third, name) in ["small", "middle", "large"].into_iter().enumerate() {
                    let of_third = |t: &Trial| thirds.get(t.id.as_str()) == Some(&third);
                    row("all", "difference", name.into(), &of_third);
                }
            }
        }
    }
    rows
}

/// The layers whose units are asked about.
fn layers(plan: &Plan) -> Vec<String> {
    let mut all = vec![];
    for trial in plan.trials.iter().filter(|t| t.purpose == Purpose::Main) {
        if !all.contains(layer_of(trial)) {
            all.push(layer_of(trial).clone());
        }
    }
    all
}

/// The layer of a trial's units: those that meet are of one.
fn layer_of(trial: &Trial) -> &String {
    match &trial.question {
        Question::Occlusion(o) => &o.unit.layer,
        Question::Exemplar(m) | Question::Visualization(m) => &m.units[0].layer,
    }
}

/// The sides of occluders, as tables name them.
fn sides(plan: &Plan) -> Vec<String> {
    let mut all: Vec<String> =
        plan.trials.iter().filter(|t| t.purpose == Purpose::Main).filter_map(side_of).collect();
    all.sort();
    all.dedup();
    all
}

fn side_of(trial: &Trial) -> Option<String> {
    match &trial.question {
        Question::Occlusion(o) => Some(format!("{:.2}", o.side)),
        _ => None,
    }
}

/// Which third of the main occlusion trials each is in, by how far the two activations differ.
fn thirds(plan: &Plan) -> BTreeMap<&str, usize> {
    let mut all: Vec<(f64, &str)> = plan
        .trials
        .iter()
        .filter(|t| t.purpose == Purpose::Main)
        .filter_map(|t| match &t.question {
            Question::Occlusion(o) => Some((o.difference, t.id.as_str())),
            _ => None,
        })
        .collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(b.1)));
    let n = all.len();
    all.into_iter().enumerate().map(|(i, (_, id))| (id, i * 3 / n)).collect()
}

/// For each fooled network: how often observers are right with its visualizations, with the honest network's in the
/// same trials, and, where that can be asked, without any.
pub fn trust(plan: &Plan, responses: &[Response]) -> Vec<tables::Trust> {
    let mut without: BTreeMap<(String, usize), &str> = BTreeMap::new();
    for trial in plan.trials.iter().filter(|t| t.circuit == CLEAN && t.purpose == Purpose::Main) {
        if let Question::Occlusion(o) = &trial.question
            && o.references == References::None
        {
            without.insert((o.unit.to_string(), o.batch), &trial.id);
        }
    }
    let mut rows = vec![];
    for (observer, kind, answered) in by_observer(plan, responses) {
        let mut by_id: BTreeMap<&str, Vec<Answered>> = BTreeMap::new();
        for a in &answered {
            by_id.entry(&a.trial.id).or_default().push(*a);
        }
        for circuit in plan.circuits().iter().filter(|c| *c != CLEAN) {
            for task in [Task::Visualization, Task::Occlusion] {
                let of = |t: &&Trial| {
                    t.task() == task
                        && t.circuit == *circuit
                        // A mix would tell of more than the visualizations.
                        && !matches!(&t.question, Question::Occlusion(o) if o.references != References::Visualizations)
                };
                let fooled: Vec<&Trial> = plan.trials.iter().filter(of).collect();
                let unseen = |t: &Trial| match &t.question {
                    Question::Occlusion(o) => without.get(&(o.unit.to_string(), o.batch)).copied(),
                    _ => None,
                };
                let kinds: [(&str, Vec<Option<&str>>); 3] = [
                    ("without", fooled.iter().map(|t| unseen(t)).collect()),
                    ("honest", fooled.iter().map(|t| t.repeats.as_deref()).collect()),
                    ("fooled", fooled.iter().map(|t| Some(t.id.as_str())).collect()),
                ];
                let found = kinds.map(|(shown, ids)| {
                    let found = ids.iter().flatten().filter_map(|id| by_id.get(id)).flatten().copied();
                    (shown, found.collect::<Vec<Answered>>())
                });
                let [.., (_, lied_to)] = &found;
                for (shown, found) in &found {
                    if found.is_empty() {
                        continue;
                    }
                    let words = (&observer, circuit, task.name(), shown);
                    let share = share(found, plan.seed, &("trust", words));
                    let change = match *shown {
                        "fooled" => None,
                        _ => difference(lied_to, found, plan.seed, &("change", words)),
                    };
                    rows.push(tables::Trust {
                        observer: observer.clone(),
                        kind: kind.name().into(),
                        circuit: circuit.clone(),
                        task: task.name().into(),
                        shown: (*shown).into(),
                        trials: share.trials,
                        questions: share.questions,
                        right: share.right,
                        accuracy: share.accuracy(),
                        lower: share.lower,
                        upper: share.upper,
                        change: change.map(|c| c[0]),
                        change_lower: change.map(|c| c[1]),
                        change_upper: change.map(|c| c[2]),
                    });
                }
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trials::plan::Answer;
    use crate::trials::plan::tests::matching;
    use crate::trials::settings::Session;

    #[test]
    fn the_bootstrap_agrees_with_the_normal_interval_of_many_clusters() {
        // 400 clusters of one question, half of them right: 0.5 ± 1.96 · 0.025.
        let clusters: Vec<(usize, usize)> = (0..400).map(|i| (i % 2, 1)).collect();
        let (lower, upper) = interval(&clusters, 1, &"x");
        assert!((lower - 0.451).abs() < 0.012 && (upper - 0.549).abs() < 0.012, "{lower} {upper}");
        // Ten answers of each: no more is known.
        let tens: Vec<(usize, usize)> = clusters.iter().map(|c| (10 * c.0, 10)).collect();
        let (l, u) = interval(&tens, 1, &"x");
        assert!((l - lower).abs() < 1e-9 && (u - upper).abs() < 1e-9);
    }

    #[test]
    fn a_difference_by_hand() {
        let trials = ["a", "b", "c", "d"].map(|id| matching(id, [0, 1, 2]));
        let answered = |right: [usize; 4]| -> Vec<Answered> {
            trials.iter().zip(right).map(|(trial, right)| Answered { trial, right }).collect()
        };
        // All of these trials are about the same three units: nothing to draw.
        assert_eq!(difference(&answered([3; 4]), &answered([0; 4]), 1, &"x"), None);
        let mut apart = trials.clone();
        for (i, trial) in apart.iter_mut().enumerate() {
            let Question::Exemplar(m) = &mut trial.question else { panic!("a matching trial") };
            m.units[0].channel = 100 + i;
        }
        let of = |right: [usize; 4]| -> Vec<Answered> {
            apart.iter().zip(right).map(|(trial, right)| Answered { trial, right }).collect()
        };
        let close = |got: Option<[f64; 3]>, wanted: [f64; 3]| {
            got.unwrap().iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-12)
        };
        assert!(close(difference(&of([3; 4]), &of([1; 4]), 1, &"x"), [8.0 / 12.0; 3]));
        // Of four draws, all are the fourth in 0.4 %, and three or more in 5 %; none is in 32 %.
        let changed = difference(&of([3, 3, 3, 1]), &of([1, 1, 1, 3]), 1, &"x");
        assert!(close(changed, [4.0 / 12.0, -4.0 / 12.0, 8.0 / 12.0]));
    }

    #[test]
    fn accuracy_by_hand() {
        let trials = vec![matching("a", [0, 1, 2]), matching("b", [1, 2, 0])];
        let plan = Plan {
            name: "x".into(),
            network: "n".into(),
            seed: 0,
            key: String::new(),
            depths: vec!["early".into()],
            images: vec![1, 3],
            references: vec![],
            pairs: Default::default(),
            session: Session::default(),
            trials,
        };
        let answer = |observer: &str, trial: &str, rows| Response {
            observer: observer.into(),
            kind: Kind::Person,
            trial: trial.into(),
            answer: Answer::Rows(rows),
            confidence: None,
            milliseconds: None,
            at: None,
        };
        let responses =
            [answer("p", "a", [0, 1, 2]), answer("p", "b", [0, 2, 1]), answer("q", "a", [1, 2, 0])];
        let rows = accuracy(&plan, &responses);
        let of = |observer: &str, by: &str| {
            let mut found =
                rows.iter().filter(|r| r.observer == observer && r.by == by && r.depth == "early");
            let row = found.next().unwrap();
            assert!(found.next().is_none());
            (row.right, row.questions, row.trials)
        };
        // In trial b one row of [1, 2, 0] is right.
        assert_eq!(of("p", "all"), (4, 6, 2));
        assert_eq!(of("q", "all"), (0, 3, 1));
        assert_eq!(of(PEOPLE, "condition"), (4, 9, 3));
        assert!(rows.iter().all(|r| r.chance == 1.0 / 3.0 && r.lower <= r.accuracy && r.accuracy <= r.upper));
    }
}
