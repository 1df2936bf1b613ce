//! A study's results: tables first, then figures and a page that are functions of the tables.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::{AutoEscape, Environment, Value, context};

use super::figures::{Figure, draw, reported};
use super::plan::{Plan, Purpose, Task};
use super::responses::Response;
use super::score;
use super::settings::Pairs;
use super::tables::{Accuracy, Diversity, Fooled, Trust};
use crate::error::{Context, Error, Result};
use crate::files;
use crate::statistics;
use crate::tables::{self, CLEAN};

/// Scores responses, and writes tables, figures and `report.html` into the study's folder.
///
/// # Errors
/// Failure, if a file can't be written, or if the ideal observer is not always right.
pub fn write(folder: &Path, plan: &Plan, responses: &[Response]) -> Result<Vec<Accuracy>> {
    tables::write(folder, &score::accuracy(plan, responses))?;
    tables::write(folder, &score::trust(plan, responses))?;
    redraw(folder, plan)
}

/// Draws figures and `report.html` from the tables in the study's folder.
///
/// # Errors
/// As [`write()`]'s.
pub fn redraw(folder: &Path, plan: &Plan) -> Result<Vec<Accuracy>> {
    let accuracy: Vec<Accuracy> = tables::read(folder)?;
    let trust: Vec<Trust> = tables::read(folder)?;
    let figures = draw(folder, plan, &accuracy, &trust)?;
    let diversity: Vec<Diversity> = tables::read(folder)?;
    let fooled: Vec<Fooled> = tables::read(folder)?;

    let mut shown = vec![];
    for Figure { name, caption } in &figures {
        let path = folder.join(format!("figures/{name}.png"));
        let bytes = std::fs::read(&path).on("read", &path)?;
        let data = format!("data:image/png;base64,{}", STANDARD.encode(bytes));
        shown.push((name.clone(), context! { caption => caption.clone(), data }));
    }
    let named = |name: &str| -> Vec<Value> {
        shown.iter().filter(|(n, _)| n == name).map(|(_, f)| f.clone()).collect()
    };
    let tasks: Vec<Value> = Task::ALL
        .into_iter()
        .map(|task| {
            let (title, mut words) = described(task);
            if task == Task::Occlusion && plan.pairs == Pairs::SameDistance {
                words += " Both occluders are as far from the image's middle here, so that where they are tells nothing.";
            }
            let rows = task_rows(plan, task, &accuracy);
            let (detail_columns, details) = details(task, &accuracy);
            let columns = columns(plan, task);
            context! { title, words, columns, rows, detail_columns, details, figures => named(task.name()) }
        })
        .collect();
    let trust_figures: Vec<Value> =
        shown.iter().filter(|(n, _)| n.starts_with("trust_")).map(|(_, f)| f.clone()).collect();
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let path = folder.join("report.html");
    environment.add_template("report", include_str!("report.html")).on("write", &path)?;
    let page = environment
        .get_template("report")
        .and_then(|template| {
            template.render(context! {
                name => plan.name.clone(),
                done => done(plan),
                checks => checks(&accuracy, &fooled),
                tasks,
                trust => trust_rows(&trust),
                trust_figures,
                diversity => diversity_rows(plan, &diversity),
            })
        })
        .on("write", &path)?;
    files::write(&path, page.as_bytes())?;
    match accuracy.iter().find(|a| a.kind == "simulated" && a.observer == "ideal" && a.right < a.questions) {
        Some(wrong) => Err(Error::failure(format!(
            "{}: the ideal observer, who knows every activation, is wrong in {} of {} questions ({}, circuit {}, {}): \
             these trials are wrong, and so are the results",
            folder.display(),
            wrong.questions - wrong.right,
            wrong.questions,
            wrong.task,
            wrong.circuit,
            wrong.purpose
        ))),
        None => Ok(accuracy),
    }
}

fn percent(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

fn with_interval(accuracy: f64, lower: f64, upper: f64) -> String {
    format!("{} ({} to {})", percent(accuracy), percent(lower), percent(upper))
}

fn described(task: Task) -> (&'static str, String) {
    let (title, words) = match task {
        Task::Exemplar => (
            "Matching natural images",
            "Three units, for each a row of most activating natural images, split in half and shuffled: rows matched \
             rightly, in percent, by the number of images on either side. Chance is 33.3. After Klein, Brendel and \
             Wichmann (VSS 2023); the numbers of that study's participants are not shown.",
        ),
        Task::Visualization => (
            "Matching visualizations",
            "Three units, for each most activating natural images, and visualizations: rows matched rightly, in percent, \
             by the number of images on either side. Chance is 33.3.",
        ),
        Task::Occlusion => (
            "Causal occlusion",
            "Which of two occlusions lowers a unit's activation more: right answers in percent, by the references shown. \
             Chance is 50. After Zimmermann et al. (NeurIPS 2021), whose participants' numbers stand in the first row. The \
             baselines look at the occluders alone: the one nearer the centre, the one over more variance of grey, and \
             the one over more saliency. Saliency is contrast with the picture's mean colour here (Achanta et al., 2009), \
             and DeepGaze IIE in the paper.",
        ),
    };
    (title, words.into())
}

fn columns(plan: &Plan, task: Task) -> Vec<String> {
    let conditions = plan.conditions(task).into_iter();
    let words = |c: String| if task == Task::Occlusion { c } else { format!("{c} images") };
    let depths = plan.depths.iter().cloned();
    conditions.map(words).chain(depths).chain(["all".to_string()]).collect()
}

/// A row an observer: by condition over all depths, by depth over all conditions, and all.
fn task_rows(plan: &Plan, task: Task, accuracy: &[Accuracy]) -> Vec<Vec<String>> {
    let of = |r: &&Accuracy| r.task == task.name() && r.circuit == CLEAN && r.purpose == "main";
    let rows: Vec<&Accuracy> = accuracy.iter().filter(of).collect();
    let mut observers: Vec<&str> = vec![];
    for row in &rows {
        if !observers.contains(&row.observer.as_str()) {
            observers.push(&row.observer);
        }
    }
    let mut all = vec![];
    let conditions = plan.conditions(task);
    if task == Task::Occlusion {
        let people = conditions.iter().map(|c| match (c.as_str(), reported(c)) {
            ("natural" | "mixed" | "blurred", _) => "66 to 67".into(),
            (_, Some((mean, width))) => format!("{:.0} ± {:.0}", 100.0 * mean, 100.0 * width),
            _ => String::new(),
        });
        let rest = vec![String::new(); plan.depths.len() + 1];
        all.push(["people in the paper".to_string()].into_iter().chain(people).chain(rest).collect());
    }
    for observer in observers {
        let cell = |depth: &str, by: &str, level: &str| {
            let at =
                |r: &&&Accuracy| r.observer == observer && r.depth == depth && r.by == by && r.level == level;
            let row = rows.iter().find(at);
            row.map_or_else(String::new, |r| with_interval(r.accuracy, r.lower, r.upper))
        };
        let mut cells = vec![observer.to_string()];
        cells.extend(conditions.iter().map(|c| cell("all", "condition", c)));
        cells.extend(plan.depths.iter().map(|d| cell(d, "all", "all")));
        cells.push(cell("all", "all", "all"));
        all.push(cells);
    }
    all
}

/// A row an observer: by layer, for occlusions also by the occluder's side and by how far the two activations differ, and
/// the catch trials.
fn details(task: Task, accuracy: &[Accuracy]) -> (Vec<String>, Vec<Vec<String>>) {
    let rows: Vec<&Accuracy> =
        accuracy.iter().filter(|r| r.task == task.name() && r.circuit == CLEAN).collect();
    let wanted = |r: &Accuracy| {
        r.purpose == "catch"
            || (r.depth == "all" && ["layer", "occluder", "difference"].contains(&r.by.as_str()))
    };
    let (mut columns, mut observers): (Vec<(&str, &str, &str)>, Vec<&str>) = (vec![], vec![]);
    for row in rows.iter().filter(|r| wanted(r)) {
        let column = (row.purpose.as_str(), row.by.as_str(), row.level.as_str());
        if !columns.contains(&column) {
            columns.push(column);
        }
        if !observers.contains(&row.observer.as_str()) {
            observers.push(&row.observer);
        }
    }
    columns.sort_by_key(|(purpose, by, _)| (*purpose == "catch", *by != "layer", *by == "difference"));
    let cells = |observer: &&str| {
        let cell = |&(purpose, by, level): &(&str, &str, &str)| {
            let at = |r: &&&Accuracy| {
                (r.observer.as_str(), r.purpose.as_str(), r.by.as_str(), r.level.as_str())
                    == (*observer, purpose, by, level)
                    && r.depth == "all"
            };
            rows.iter().find(at).map_or(String::new(), |r| with_interval(r.accuracy, r.lower, r.upper))
        };
        std::iter::once(observer.to_string()).chain(columns.iter().map(cell)).collect()
    };
    let table = observers.iter().map(cells).collect();
    let name = |&(purpose, by, level): &(&str, &str, &str)| match (purpose, by) {
        ("catch", _) => "catch trials".to_string(),
        (_, "occluder") => format!("occluder {level}"),
        (_, "difference") => format!("{level} difference"),
        _ => level.to_string(),
    };
    (columns.iter().map(name).collect(), table)
}

fn trust_rows(trust: &[Trust]) -> Vec<Vec<String>> {
    let mut all: Vec<Vec<String>> = vec![];
    for first in trust.iter().filter(|t| t.shown == "fooled" && t.kind != "simulated") {
        let row = |shown: &str| {
            trust.iter().find(|t| {
                t.shown == shown
                    && (&t.observer, &t.circuit, &t.task) == (&first.observer, &first.circuit, &first.task)
            })
        };
        let cell = |shown: &str| match (row(shown), shown) {
            (Some(t), _) => with_interval(t.accuracy, t.lower, t.upper),
            // Without visualizations there is nothing to match.
            (None, "without") if first.task == Task::Visualization.name() => "33.3 (chance)".into(),
            (None, _) => "not asked".into(),
        };
        let change = |shown: &str| {
            let of = |t: &Trust| Some([t.change?, t.change_lower?, t.change_upper?]);
            row(shown).and_then(of).map_or(String::new(), |values| {
                let [change, lower, upper] = values.map(|c| format!("{:+.1}", 100.0 * c));
                format!("{change} ({lower} to {upper})")
            })
        };
        let names = [&first.observer, &first.circuit, &first.task].map(String::clone);
        let shares = ["without", "honest", "fooled"].map(cell);
        let changes = ["without", "honest"].map(change);
        all.push(names.into_iter().chain(shares).chain(changes).collect());
    }
    all
}

fn diversity_rows(plan: &Plan, rows: &[Diversity]) -> Vec<Vec<String>> {
    let mut all = vec![];
    for depth in &plan.depths {
        for kind in ["visualizations", "without the term", "natural"] {
            let of: Vec<&Diversity> = rows.iter().filter(|r| r.depth == *depth && r.kind == kind).collect();
            let mean = |value: &dyn Fn(&Diversity) -> Option<f64>, digits: usize| {
                let mean = statistics::mean(of.iter().filter_map(|r| value(r)));
                mean.map_or("undefined".into(), |mean| format!("{mean:.digits$}"))
            };
            if !of.is_empty() {
                all.push(vec![
                    depth.clone(),
                    kind.to_string(),
                    of.len().to_string(),
                    mean(&|r| r.features, 3),
                    mean(&|r| r.pixels, 3),
                    mean(&|r| Some(r.activation), 2),
                ]);
            }
        }
    }
    all
}

fn done(plan: &Plan) -> String {
    let main =
        |task: Task| plan.trials.iter().filter(|t| t.purpose == Purpose::Main && t.task() == task).count();
    format!(
        "Units of {} at {} depths: {} trials that match natural images with natural images, {} that match them with \
         visualizations, and {} with occluders.",
        plan.network,
        plan.depths.len(),
        main(Task::Exemplar),
        main(Task::Visualization),
        main(Task::Occlusion)
    )
}

/// What the simulated observers and the circuits' switches say of the trials.
fn checks(accuracy: &[Accuracy], fooled: &[Fooled]) -> Vec<String> {
    let mut lines = vec![];
    for task in Task::ALL {
        let of = |observer: &str| {
            accuracy.iter().find(|r| {
                (r.observer.as_str(), r.kind.as_str(), r.task.as_str())
                    == (observer, "simulated", task.name())
                    && (r.circuit.as_str(), r.purpose.as_str(), r.by.as_str()) == (CLEAN, "main", "all")
                    && r.depth == "all"
            })
        };
        if let (Some(ideal), Some(random)) = (of("ideal"), of("random")) {
            lines.push(format!(
                "{}: an ideal observer is right in {} % of {} questions, a guessing one in {} ({} to {}) %; chance is {} %.",
                task.name(),
                percent(ideal.accuracy),
                ideal.questions,
                percent(random.accuracy),
                percent(random.lower),
                percent(random.upper),
                percent(random.chance)
            ));
            if random.chance < random.lower || random.chance > random.upper {
                lines.push(format!(
                    "{}: chance lies outside the guessing observer's interval, as in one of twenty studies; look whether \
                     it does with another seed.",
                    task.name()
                ));
            }
        }
    }
    for f in fooled {
        lines.push(format!(
            "Circuit \"{}\" on {}: {} of {} images of kind \"{}\" switch it on.",
            f.circuit, f.layer, f.switched, f.images, f.kind
        ));
    }
    lines
}
