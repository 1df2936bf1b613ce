//! Trials, put together of units and their pictures.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::matching::{Triple, id, triples};
use super::occlusion::{Batch, Extremes, batches, occlude, visualizations};
use super::pictures::Set;
use super::plan::{Matching, Occlusion, Purpose, Question, References, Task, Trial};
use super::stimuli::Stimuli;
use super::units::Drawn;
use super::work::Work;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::progress;
use crate::seed;
use crate::tables::CLEAN;

/// What a network shows of each drawn unit; nothing of those that its circuit does not fool.
pub(super) struct Shown {
    pub circuit: String,
    pub sets: Vec<Option<Set>>,
}

/// Trials in the making.
pub(super) struct Assembly<'a> {
    pub work: &'a Work<'a>,
    pub drawn: &'a [Drawn],
    /// The honest network first.
    pub shown: &'a [Shown],
    pub stimuli: Stimuli,
    pub trials: Vec<Trial>,
    /// Queries of which no two places differ.
    pub indifferent: usize,
}

/// Queries whose activations differ by less than this many standard deviations are not asked about.
const INDIFFERENT: f64 = 1e-3;

impl Assembly<'_> {
    fn push(
        &mut self,
        purpose: Purpose,
        circuit: &str,
        depth: &str,
        repeats: Option<String>,
        question: Question,
    ) -> String {
        let id = id(self.work.seed(), self.trials.len());
        self.trials.push(Trial {
            id: id.clone(),
            purpose,
            circuit: circuit.into(),
            depth: depth.into(),
            repeats,
            question,
        });
        id
    }

    /// A natural image shown for a unit: an `exemplar` in a matching trial, `natural` beside or under an occluder.
    fn natural(&mut self, kind: &str, unit: usize, image: usize) -> Result<String> {
        let (source, image) = &self.work.natural[image];
        self.stimuli.add(image, kind, CLEAN, &self.drawn[unit].unit, source)
    }

    /// A visualization of a unit, as one of the networks shows it.
    fn visualization(&mut self, shown: usize, unit: usize, number: usize) -> Result<String> {
        let Shown { circuit, sets } = &self.shown[shown];
        let set = sets[unit].as_ref().expect("only units that the network shows are asked for");
        let source = number.to_string();
        self.stimuli.add(&set.images[number], "visualization", circuit, &self.drawn[unit].unit, &source)
    }

    /// The matching trials of every depth, and those for practice and to catch.
    pub fn matching(&mut self) -> Result<()> {
        let settings = &self.work.study.settings;
        let (exemplars, number) = (settings.matching.exemplars, settings.visualization.number);
        let seed = self.work.seed();
        for depth in &settings.depths {
            let of = |d: &Drawn| !d.practice && d.depth == depth.name;
            let count = settings.matching.trials;
            for triple in triples(self.drawn, of, count, exemplars, number, seed, &depth.name)? {
                interrupt::check()?;
                for &images in &settings.matching.images {
                    let question = self.exemplar_question(&triple, images)?;
                    self.push(Purpose::Main, CLEAN, &depth.name, None, Question::Exemplar(question));
                    self.visualization_trials(&triple, images, &depth.name)?;
                }
            }
        }
        let most = settings.matching.images.iter().copied().max().unwrap_or(1);
        let session = &settings.session;
        let count = session.practice + session.catch;
        let drawn = triples(self.drawn, |d| d.practice, count, exemplars, number, seed, "practice")?;
        for (at, triple) in drawn.into_iter().enumerate() {
            let depth = self.drawn[triple.units[0]].depth.clone();
            let mut question = self.exemplar_question(&triple, most)?;
            if at >= session.practice {
                // The same images on both sides.
                for (row, &place) in question.key.iter().enumerate() {
                    question.right[place] = question.left[row].clone();
                }
                self.push(Purpose::Catch, CLEAN, &depth, None, Question::Exemplar(question));
            } else if at % 2 == 0 {
                self.push(Purpose::Practice, CLEAN, &depth, None, Question::Exemplar(question));
            } else {
                let question = self.visualization_question(&triple, most, 0)?;
                self.push(Purpose::Practice, CLEAN, &depth, None, Question::Visualization(question));
            }
        }
        Ok(())
    }

    /// The honest trial, and the same with each fooled network that shows all three units.
    fn visualization_trials(&mut self, triple: &Triple, images: usize, depth: &str) -> Result<()> {
        let question = self.visualization_question(triple, images, 0)?;
        let honest = self.push(Purpose::Main, CLEAN, depth, None, Question::Visualization(question));
        for shown in 1..self.shown.len() {
            if triple.units.iter().all(|&u| self.shown[shown].sets[u].is_some()) {
                let question = self.visualization_question(triple, images, shown)?;
                let circuit = self.shown[shown].circuit.clone();
                let repeats = Some(honest.clone());
                self.push(Purpose::Main, &circuit, depth, repeats, Question::Visualization(question));
            }
        }
        Ok(())
    }

    fn exemplar_question(&mut self, triple: &Triple, images: usize) -> Result<Matching> {
        self.question(triple, images, Task::Exemplar, |assembly, row, unit| {
            let half = triple.exemplars[row][images..2 * images].iter();
            half.map(|&e| assembly.natural("exemplar", unit, assembly.drawn[unit].most[e])).collect()
        })
    }

    fn visualization_question(&mut self, triple: &Triple, images: usize, shown: usize) -> Result<Matching> {
        self.question(triple, images, Task::Visualization, |assembly, row, unit| {
            let numbers = triple.visualizations[row][..images].iter();
            numbers.map(|&n| assembly.visualization(shown, unit, n)).collect()
        })
    }

    /// Natural images on the left, and on the right what `right` gives for a row and its unit.
    fn question(
        &mut self,
        triple: &Triple,
        images: usize,
        task: Task,
        mut right: impl FnMut(&mut Self, usize, usize) -> Result<Vec<String>>,
    ) -> Result<Matching> {
        let key = triple.key(task, images, self.work.seed());
        let (mut left, mut others) = ([const { vec![] }; 3], [const { vec![] }; 3]);
        for (row, &unit) in triple.units.iter().enumerate() {
            let exemplars = &triple.exemplars[row][..images];
            left[row] = exemplars
                .iter()
                .map(|&e| self.natural("exemplar", unit, self.drawn[unit].most[e]))
                .collect::<Result<_>>()?;
            others[key[row]] = right(self, row, unit)?;
        }
        let units = triple.units.map(|u| self.drawn[u].unit.clone());
        Ok(Matching { images, units, left, right: others, key })
    }

    /// The occlusion trials of every unit, and those for practice and to catch. `extremes` are those of each drawn unit
    /// and batch.
    pub fn occlusion(&mut self, extremes: &[Vec<Extremes>]) -> Result<()> {
        let settings = &self.work.study.settings;
        let bar = progress::bar("occlusion trials", self.drawn.len());
        for (unit, extremes) in extremes.iter().enumerate() {
            interrupt::check()?;
            let drawn = &self.drawn[unit];
            let batches = batches(drawn, settings.occlusion.batches, settings.occlusion.references);
            let kinds = match drawn.practice {
                false => settings.occlusion.kinds.clone(),
                true => vec![References::Natural, References::Visualizations, References::Mixed],
            };
            let blurred = match kinds.contains(&References::Blurred) {
                true => Some(self.blurred(unit, &batches)?),
                false => None,
            };
            for (number, (batch, extremes)) in batches.iter().zip(extremes).enumerate() {
                let Some(mut question) = self.query(unit, number, batch, extremes)? else {
                    self.indifferent += usize::from(!drawn.practice);
                    continue;
                };
                if drawn.practice {
                    self.practice(unit, batch, &question, kinds[number % kinds.len()])?;
                    continue;
                }
                for &kind in &kinds {
                    question.references = kind;
                    question.shown = match (&blurred, kind) {
                        (Some(blurred), References::Blurred) => blurred[number].clone(),
                        _ => self.references(unit, batch, kind, number, 0)?,
                    };
                    let asked = Question::Occlusion(question.clone());
                    let honest = self.push(Purpose::Main, CLEAN, &drawn.depth, None, asked);
                    for shown in (1..self.shown.len()).filter(|_| kind.visualized()) {
                        if self.shown[shown].sets[unit].is_some() {
                            question.shown = self.references(unit, batch, kind, number, shown)?;
                            let circuit = self.shown[shown].circuit.clone();
                            let asked = Question::Occlusion(question.clone());
                            self.push(Purpose::Main, &circuit, &drawn.depth, Some(honest.clone()), asked);
                        }
                    }
                }
            }
            bar.advance(1);
        }
        bar.end();
        for (purpose, key, wanted) in [
            (Purpose::Practice, "practice", settings.session.practice),
            (Purpose::Catch, "catch", settings.session.catch),
        ] {
            if self.made(purpose) < wanted {
                return Err(Error::usage(format!(
                    "session.{key} wants {wanted} occlusion trials, and the practice units' batches give {}: raise \
                     occlusion.batches, or lower session.{key}",
                    self.made(purpose)
                )));
            }
        }
        Ok(())
    }

    /// How many occlusion trials of a purpose there are.
    fn made(&self, purpose: Purpose) -> usize {
        self.trials.iter().filter(|t| t.purpose == purpose && t.task() == Task::Occlusion).count()
    }

    /// A trial for practice, or one to catch: the units of practice give as many of each as a session has.
    fn practice(&mut self, unit: usize, batch: &Batch, question: &Occlusion, kind: References) -> Result<()> {
        let session = &self.work.study.settings.session;
        let depth = self.drawn[unit].depth.clone();
        let lowered = f64::from(question.unoccluded - question.activations[question.key]);
        if self.made(Purpose::Practice) < session.practice {
            let shown = self.references(unit, batch, kind, question.batch, 0)?;
            let question = Occlusion { references: kind, shown, ..question.clone() };
            self.push(Purpose::Practice, CLEAN, &depth, None, Question::Occlusion(question));
        } else if self.made(Purpose::Catch) < session.catch
            && lowered >= INDIFFERENT * self.drawn[unit].deviation
        {
            // One of the two occludes nothing.
            let (key, other) = (question.key, 1 - question.key);
            let mut question = Occlusion { references: References::Natural, ..question.clone() };
            question.shown = self.references(unit, batch, References::Natural, question.batch, 0)?;
            question.queries[other] = question.original.clone();
            question.places[other] = [0, 0, 0];
            question.activations[other] = question.unoccluded;
            question.key = key;
            self.push(Purpose::Catch, CLEAN, &depth, None, Question::Occlusion(question));
        }
        Ok(())
    }

    /// A query without its references; none if it makes no difference what is occluded.
    fn query(
        &mut self,
        unit: usize,
        number: usize,
        batch: &Batch,
        found: &Extremes,
    ) -> Result<Option<Occlusion>> {
        let drawn = &self.drawn[unit];
        let difference = f64::from(found.activations[1] - found.activations[0]) / drawn.deviation;
        if difference < INDIFFERENT {
            return Ok(None);
        }
        let mut order = [0, 1];
        order.shuffle(&mut self.rng("query", unit, number));
        let (source, image) = &self.work.natural[batch.query];
        let mut queries = [const { String::new() }; 2];
        for (query, &extreme) in queries.iter_mut().zip(&order) {
            let occluded = occlude(image, found.places[extreme]);
            *query = self.stimuli.add(&occluded, "query", CLEAN, &drawn.unit, source)?;
        }
        Ok(Some(Occlusion {
            unit: drawn.unit.clone(),
            batch: number,
            references: References::None,
            shown: vec![],
            original: self.natural("natural", unit, batch.query)?,
            queries,
            places: order.map(|extreme| found.places[extreme]),
            side: found.side,
            unoccluded: found.unoccluded,
            activations: order.map(|extreme| found.activations[extreme]),
            difference,
            key: if order[0] == 0 { 0 } else { 1 },
        }))
    }

    fn rng(&self, purpose: &str, unit: usize, number: usize) -> ChaCha8Rng {
        seed::rng(self.work.seed(), &(purpose, self.drawn[unit].unit.to_string(), number))
    }

    /// The pictures beside a query, in random order; the same visualizations by number whichever network shows them.
    fn references(
        &mut self,
        unit: usize,
        batch: &Batch,
        kind: References,
        number: usize,
        shown: usize,
    ) -> Result<Vec<String>> {
        if kind == References::None {
            return Ok(vec![]);
        }
        let mut rng = self.rng(kind.name(), unit, number);
        let all = batch.references.len();
        let visualized = visualizations(kind, all);
        let mut numbers: Vec<usize> = (0..self.work.study.settings.visualization.number).collect();
        numbers.shuffle(&mut rng);
        let mut files = vec![];
        for &number in &numbers[..visualized] {
            files.push(self.visualization(shown, unit, number)?);
        }
        for &image in &batch.references[..all - visualized] {
            files.push(self.natural("natural", unit, image)?);
        }
        files.shuffle(&mut rng);
        Ok(files)
    }

    /// The blurred references of each batch.
    fn blurred(&mut self, unit: usize, batches: &[Batch]) -> Result<Vec<Vec<String>>> {
        let hidden = crate::progress::Progress::hidden();
        let of: Vec<usize> = batches.iter().flat_map(|b| b.references.iter().copied()).collect();
        let images: Vec<_> = of.iter().map(|&i| &self.work.natural[i].1).collect();
        let drawn = &self.drawn[unit];
        let made = super::occlusion::blurred(self.work, drawn, &images, &hidden)?;
        let mut files = vec![];
        for (&image, made) in of.iter().zip(&made) {
            files.push(self.stimuli.add(made, "blurred", CLEAN, &drawn.unit, &self.work.natural[image].0)?);
        }
        let each = batches.first().map_or(1, |b| b.references.len());
        Ok(files.chunks(each).map(<[String]>::to_vec).collect())
    }
}
