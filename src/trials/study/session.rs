//! What one participant is asked, in order.

use rand::RngExt;
use rand::seq::SliceRandom;
use serde::Serialize;

use crate::seed;
use crate::trials::plan::{Plan, Purpose, Question, Task, Trial};

/// One thing after another.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Item {
    /// What a block of trials is about.
    Instructions {
        block: Block,
    },
    /// The trials from here on count.
    Begin,
    Trial(Asked),
    Break,
}

/// The two tasks as participants meet them: matching comes with both kinds of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Block {
    Matching,
    Occlusion,
}

/// A trial without what a participant must not know: not its key, its unit, whose visualizations they are, or whether it
/// is there to catch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Asked {
    pub id: String,
    pub task: Task,
    pub practice: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left: Vec<Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    right: Vec<Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shown: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    queries: Vec<String>,
}

impl Asked {
    fn new(trial: &Trial) -> Self {
        let mut asked = Self {
            id: trial.id.clone(),
            task: trial.task(),
            practice: trial.purpose == Purpose::Practice,
            left: vec![],
            right: vec![],
            shown: vec![],
            queries: vec![],
        };
        match &trial.question {
            Question::Exemplar(m) | Question::Visualization(m) => {
                asked.left = m.left.to_vec();
                asked.right = m.right.to_vec();
            }
            Question::Occlusion(o) => {
                asked.shown = o.shown.clone();
                asked.queries = o.queries.to_vec();
            }
        }
        asked
    }
}

impl Block {
    fn of(trial: &Trial) -> Self {
        if trial.task() == Task::Occlusion { Self::Occlusion } else { Self::Matching }
    }
}

/// The items of the `number`-th participant, counted from 0. As many trials of every condition for everyone, and over
/// participants every trial of a condition equally often; every other participant begins with the other task.
pub(super) fn items(plan: &Plan, number: usize) -> Vec<Item> {
    let mut blocks = [Block::Matching, Block::Occlusion];
    blocks.rotate_left(number % 2);
    let mut items = vec![];
    for block in blocks {
        let of = |purpose: Purpose| {
            plan.trials.iter().filter(move |t| t.purpose == purpose && Block::of(t) == block)
        };
        let mut rng = seed::rng(plan.seed, &("session", number, block));
        let mut main = chosen(plan, of(Purpose::Main), number);
        if main.is_empty() {
            continue;
        }
        main.shuffle(&mut rng);
        for catch in of(Purpose::Catch) {
            let at = rng.random_range(0..=main.len());
            main.insert(at, catch);
        }
        items.push(Item::Instructions { block });
        let practice = items.len();
        items.extend(of(Purpose::Practice).map(|t| Item::Trial(Asked::new(t))));
        if items.len() > practice {
            items.push(Item::Begin);
        }
        for (at, trial) in main.into_iter().enumerate() {
            if at > 0 && at % plan.session.block == 0 {
                items.push(Item::Break);
            }
            items.push(Item::Trial(Asked::new(trial)));
        }
    }
    items
}

/// As many trials of every condition as a session has.
fn chosen<'a>(plan: &Plan, trials: impl Iterator<Item = &'a Trial>, number: usize) -> Vec<&'a Trial> {
    type Cell<'a> = ((Task, &'a str, &'a str, String), Vec<&'a Trial>);
    let mut cells: Vec<Cell> = vec![];
    for trial in trials {
        let key = (trial.task(), trial.circuit.as_str(), trial.depth.as_str(), trial.condition());
        match cells.iter_mut().find(|(k, _)| *k == key) {
            Some((_, members)) => members.push(trial),
            None => cells.push((key, vec![trial])),
        }
    }
    let each = plan.session.per_condition;
    // The same units are asked about in every condition: cells begin at different places, so that one participant meets
    // few of them twice.
    let take = |(cell, (_, members)): (usize, Cell<'a>)| -> Vec<&'a Trial> {
        let n = members.len();
        (0..each.min(n)).map(|i| members[(number * each + cell + i) % n]).collect()
    };
    cells.into_iter().enumerate().flat_map(take).collect()
}

/// The trials among items, by position.
pub(super) fn trials(items: &[Item]) -> impl Iterator<Item = &Asked> {
    items.iter().filter_map(|item| match item {
        Item::Trial(asked) => Some(asked),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::trials::plan::tests::matching;
    use crate::trials::settings::Session;

    fn plan() -> Plan {
        let mut trials = vec![];
        for (depth, images) in [("early", 1), ("early", 3), ("late", 1), ("late", 3)] {
            for i in 0..4 {
                let mut trial = matching(&format!("{depth}{images}{i}"), [0, 2, 1]);
                trial.depth = depth.into();
                let Question::Exemplar(m) = &mut trial.question else { unreachable!() };
                m.images = images;
                trials.push(trial);
            }
        }
        trials.push(Trial { purpose: Purpose::Practice, ..matching("practice", [0, 1, 2]) });
        trials.push(Trial { purpose: Purpose::Catch, ..matching("catch", [0, 1, 2]) });
        Plan {
            name: "x".into(),
            network: "n".into(),
            seed: 5,
            key: String::new(),
            depths: vec!["early".into(), "late".into()],
            images: vec![1, 3],
            references: vec![],
            session: Session { per_condition: 2, practice: 1, catch: 1, block: 4 },
            trials,
        }
    }

    #[test]
    fn sessions_are_balanced_over_conditions_and_participants() {
        let plan = plan();
        let mut uses: HashMap<String, usize> = HashMap::new();
        for number in 0..4 {
            let items = items(&plan, number);
            let mut cells: HashMap<String, usize> = HashMap::new();
            for asked in trials(&items) {
                *uses.entry(asked.id.clone()).or_default() += 1;
                let cell = asked.id[..asked.id.len() - 1].to_string();
                *cells.entry(cell).or_default() += 1;
            }
            assert!(["early1", "early3", "late1", "late3"].iter().all(|c| cells[*c] == 2), "{cells:?}");
            assert_eq!(items, self::items(&plan, number));
        }
        // Eight trials a session and four sessions over sixteen trials.
        assert!(
            uses.iter().all(|(id, n)| *n == if id.starts_with("practice") || id == "catch" { 4 } else { 2 })
        );
    }

    #[test]
    fn practice_comes_first_then_blocks_with_breaks() {
        let items = items(&plan(), 1);
        let kinds: String = items
            .iter()
            .map(|item| match item {
                Item::Instructions { .. } => 'i',
                Item::Begin => 'b',
                Item::Trial(asked) if asked.practice => 'p',
                Item::Trial(_) => 't',
                Item::Break => '-',
            })
            .collect();
        assert_eq!(kinds, "ipbtttt-tttt-t");
    }

    #[test]
    fn what_participants_get_does_not_give_the_answer_away() {
        let plan = plan();
        let text = serde_json::to_string(&items(&plan, 0)).unwrap();
        for word in ["key", "unit", "circuit", "purpose", "activation", "places", "depth"] {
            assert!(!text.contains(&format!("\"{word}")), "{word}");
        }
    }
}
