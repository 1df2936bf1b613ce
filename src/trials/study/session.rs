//! What one participant is asked, in order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

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

/// The items of the `number`-th participant, counted from 0. As many trials of every condition for everyone, about
/// different units as far as there are, and over participants every trial of a condition about equally often; every other
/// participant begins with the other task.
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
    let mut depths: Vec<(&str, Vec<&Trial>)> = vec![];
    for trial in trials {
        match depths.iter_mut().find(|(depth, _)| *depth == trial.depth) {
            Some((_, of)) => of.push(trial),
            None => depths.push((trial.depth.as_str(), vec![trial])),
        }
    }
    let dealt = |(depth, of): (&str, Vec<&'a Trial>)| {
        let mut deck = Deck::new(plan, depth, &of);
        // What is left for a participant depends on all those before.
        for before in 0..number {
            deck.deal(plan.session.per_condition, before);
        }
        deck.deal(plan.session.per_condition, number)
    };
    depths.into_iter().flat_map(dealt).collect()
}

/// The trials of one depth, dealt so that a participant meets a unit once, as long as there are others: what is seen of it
/// in one condition would help in the next. Among these come those that were dealt the least often, in the same order in
/// every condition, so that what one participant is asked in one condition another is soon asked in the next.
struct Deck<'a> {
    cells: Vec<Cell<'a>>,
    /// How many different units, or threes of units, the trials are about.
    subjects: usize,
}

/// The trials of a condition, with the visualizations of one network.
struct Cell<'a> {
    key: (Task, String, &'a str),
    /// In the order in which they are dealt.
    members: Vec<Member<'a>>,
}

struct Member<'a> {
    trial: &'a Trial,
    /// What it is about.
    subject: usize,
    /// How many trials about the same come before it: the same question in every condition.
    round: usize,
    /// How often it was dealt.
    uses: usize,
}

impl<'a> Deck<'a> {
    fn new(plan: &Plan, depth: &str, trials: &[&'a Trial]) -> Self {
        let mut networks: BTreeMap<String, HashSet<&str>> = BTreeMap::new();
        for trial in trials {
            networks.entry(trial.subject()).or_default().insert(&trial.circuit);
        }
        let mut subjects: Vec<&String> = networks.keys().collect();
        subjects.shuffle(&mut seed::rng(plan.seed, &("subjects", depth)));
        // Those that more networks show come first: few participants are enough for answers that can be compared.
        subjects.sort_by_key(|subject| Reverse(networks[*subject].len()));
        let places: HashMap<&str, usize> =
            subjects.iter().enumerate().map(|(place, subject)| (subject.as_str(), place)).collect();
        let mut cells: Vec<Cell> = vec![];
        for &trial in trials {
            let key = (trial.task(), trial.condition(), trial.circuit.as_str());
            let found = cells.iter().position(|cell| cell.key == key);
            let at = found.unwrap_or_else(|| {
                // Beside the same condition with another network: these are compared, and neighbours are dealt the same
                // questions soonest.
                let beside = cells.iter().rposition(|cell| (cell.key.0, &cell.key.1) == (key.0, &key.1));
                let at = beside.map_or(cells.len(), |at| at + 1);
                cells.insert(at, Cell { key, members: vec![] });
                at
            });
            let place = places[trial.subject().as_str()];
            cells[at].members.push(Member { trial, subject: place, round: 0, uses: 0 });
        }
        for cell in &mut cells {
            let mut rounds = vec![0; subjects.len()];
            for member in &mut cell.members {
                member.round = rounds[member.subject];
                rounds[member.subject] += 1;
            }
            cell.members.sort_by_key(|member| (member.round, member.subject));
        }
        let subjects = subjects.len();
        Self { cells, subjects }
    }

    /// Deals the `number`-th participant `each` trials of every cell.
    fn deal(&mut self, each: usize, number: usize) -> Vec<&'a Trial> {
        let n = self.cells.len();
        // Everyone begins with another cell; the ones with few units come first, while these are still there.
        let mut order: Vec<usize> = (0..n).map(|i| (number + number / n + i) % n).collect();
        order.sort_by_key(|&at| self.cells[at].subjects());
        let mut met = vec![0; self.subjects];
        let mut seen: HashSet<(usize, usize)> = HashSet::new();
        let mut dealt = vec![vec![]; n];
        for at in order {
            let own: &mut Vec<&'a Trial> = &mut dealt[at];
            let members = &mut self.cells[at].members;
            for _ in 0..each.min(members.len()) {
                let rank = |member: &&mut Member| {
                    let again = own.iter().any(|trial| std::ptr::eq(*trial, member.trial));
                    let met = met[member.subject];
                    let asked = met > 0 && seen.contains(&(member.subject, member.round));
                    (again, asked, met, member.uses)
                };
                let Some(next) = members.iter_mut().min_by_key(rank) else { break };
                next.uses += 1;
                met[next.subject] += 1;
                seen.insert((next.subject, next.round));
                own.push(next.trial);
            }
        }
        dealt.concat()
    }
}

impl Cell<'_> {
    /// How many different subjects its trials have.
    fn subjects(&self) -> usize {
        // The first round has them all.
        self.members.iter().take_while(|member| member.round == 0).count()
    }
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
    use super::*;
    use crate::trials::plan::References;
    use crate::trials::plan::tests::{matching, occlusion};
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
            pairs: Default::default(),
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

    /// Six units with four batches each: without references, with natural images and with visualizations, of the last
    /// three units also those of a network that lies.
    fn occlusions() -> Plan {
        let mut trials = vec![];
        for (channel, batch) in (0..6).flat_map(|channel| (0..4).map(move |batch| (channel, batch))) {
            let of = |kind: References, name: &str| {
                occlusion(&format!("{name}-{channel}-{batch}"), channel, batch, kind)
            };
            trials.push(of(References::None, "without"));
            let honest = of(References::Visualizations, "honest");
            let repeats = Some(honest.id.clone());
            trials.push(honest);
            trials.push(of(References::Natural, "natural"));
            if channel >= 3 {
                let fooled = of(References::Visualizations, "fooled");
                trials.push(Trial { circuit: "gate".into(), repeats, ..fooled });
            }
        }
        let session = Session { per_condition: 1, practice: 0, catch: 0, block: 9 };
        Plan { session, trials, ..plan() }
    }

    #[test]
    fn a_participant_meets_a_unit_once_and_few_are_enough_to_compare() {
        let plan = occlusions();
        // For each condition how often each question was asked.
        let mut asked: HashMap<String, HashMap<String, usize>> = HashMap::new();
        for number in 0..24 {
            let items = items(&plan, number);
            let mut units = HashSet::new();
            for trial in trials(&items) {
                let (condition, question) = trial.id.split_once('-').unwrap();
                let (unit, _) = question.split_once('-').unwrap();
                assert!(units.insert(unit.to_string()), "participant {number} meets unit {unit} again");
                *asked.entry(condition.into()).or_default().entry(question.into()).or_default() += 1;
            }
            assert_eq!(units.len(), 4);
            let everywhere = |question: &&String| {
                ["without", "honest"].iter().all(|condition| asked[*condition].contains_key(*question))
            };
            let compared = asked["fooled"].keys().filter(everywhere).count();
            assert!(number < 4 || compared >= 2, "{compared} after {number}");
            assert!(number < 23 || compared == 12, "{compared} in the end");
        }
        for (condition, expected) in [("without", 1), ("honest", 1), ("natural", 1), ("fooled", 2)] {
            let of = &asked[condition];
            assert_eq!(of.values().sum::<usize>(), 24);
            assert!(of.values().all(|n| n.abs_diff(expected) <= 1), "{condition}: {of:?}");
            assert!(of.len() >= if condition == "fooled" { 12 } else { 22 }, "{condition}: {of:?}");
        }
    }

    #[test]
    fn where_units_run_out_no_question_is_asked_twice() {
        let mut plan = occlusions();
        plan.session.per_condition = 2;
        for number in 0..12 {
            let items = items(&plan, number);
            let mut units: HashMap<&str, usize> = HashMap::new();
            let mut questions = HashSet::new();
            for trial in trials(&items) {
                let (_, question) = trial.id.split_once('-').unwrap();
                assert!(questions.insert(question), "participant {number} is asked {question} again");
                *units.entry(question.split_once('-').unwrap().0).or_default() += 1;
            }
            // Eight trials about six units.
            assert!(units.len() == 6 && units.values().all(|n| *n <= 2), "{units:?}");
        }
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
