//! The sanity check of Geirhos et al. (2024): visualizations of a network and of what circuits make of it, set against natural
//! images.

mod behaviour;
mod controls;
mod fooled_units;
mod paths;
mod pictures;
mod silence;

use crate::circuit::{self, Circuit};
use crate::config::Experiment;
use crate::error::Result;
use crate::experiment::{Setting, blueprint, model};
use crate::results::{Kind, Results, described};
use crate::tables;

/// The rows that are written.
#[derive(Default)]
struct Rows {
    accuracy: Vec<tables::Accuracy>,
    behaviour: Vec<tables::Behaviour>,
    fooled_units: Vec<tables::FooledUnit>,
    gate: Vec<tables::Gate>,
    trajectories: Vec<tables::Trajectory>,
    visualizations: Vec<tables::Visualization>,
    resemblance: Vec<tables::Resemblance>,
    silence: Vec<tables::Silence>,
    paths: Vec<tables::PathSimilarity>,
    controls: Vec<tables::ControlSimilarity>,
    control_pictures: Vec<tables::ControlPicture>,
}

impl Rows {
    /// Writes all tables; those of controls only where there are any.
    fn write(&self, results: &mut Results) -> Result<()> {
        results.table(&self.accuracy)?;
        results.table(&self.behaviour)?;
        results.table(&self.fooled_units)?;
        results.table(&self.gate)?;
        results.table(&self.trajectories)?;
        results.table(&self.visualizations)?;
        results.table(&self.resemblance)?;
        results.table(&self.silence)?;
        results.table(&self.paths)?;
        if !self.controls.is_empty() {
            results.table(&self.controls)?;
            results.table(&self.control_pictures)?;
        }
        Ok(())
    }
}

/// Runs an experiment and leaves its tables and pictures in the results folder, which is still to be completed with figures
/// and a report.
///
/// # Errors
/// Usage for what the experiment file gets wrong, failure for what goes wrong, an interruption; finished stages are
/// kept and not done again.
pub fn run(experiment: &Experiment, circuits: &[Circuit], setting: &Setting) -> Result<Results> {
    // Mistakes are found before anything is written or takes long.
    let mut session = circuit::prepare(experiment, circuits, setting)?;
    session.room(circuits.len())?;
    let odd = session.oddities(&blueprint(experiment, setting)?)?;
    let config = serde_json::json!({ "experiment": described(experiment), "circuits": described(&circuits) });
    let mut results =
        Results::open(&setting.out, Kind::SanityCheck, &config, experiment.seed, session.device())?;
    session.note_data(&mut results);
    odd.into_iter().for_each(|words| results.warn(words));
    let clean = results.stage("network", || model(experiment, setting))?;
    clean.noted(tables::CLEAN, &mut results);
    let (before, accuracy) = session.accuracy(&clean, tables::CLEAN, None, &mut results)?;
    let mut rows = Rows { accuracy, ..Rows::default() };
    let groups = session.groups.clone();
    let mut honest = vec![];
    for units in &groups {
        let pictures = session.visualizations(&clean, units, &mut results)?;
        session.strongest(&clean, units, &mut results)?;
        session.describe(&clean, &pictures, &pictures, None, &mut rows, &mut results)?;
        session.paths(&clean, &clean, units, &pictures, tables::CLEAN, &mut rows, &mut results)?;
        honest.push(pictures);
    }
    session.controls(&clean, &mut rows, &mut results)?;
    session.audit(&clean, &mut rows, &mut results)?;
    for circuit in circuits {
        let group = groups.iter().position(|g| g.layer == circuit.layer());
        let honest = &honest[group.expect("every circuit's layer has a group")];
        let mut fooled = circuit.put_in(&mut session, &clean, honest, &mut results)?;
        rows.gate.append(&mut fooled.gate);
        results.network(circuit.name(), &fooled.model.network)?;
        fooled.model.noted(circuit.name(), &mut results);
        let (after, accuracy) =
            session.accuracy(&fooled.model, circuit.name(), fooled.switch.as_deref(), &mut results)?;
        rows.accuracy.extend(accuracy);
        session.behaviour(circuit, &before, &after, &mut rows);
        let units = session.visualized(circuit.name()).clone();
        session.fooled_units(&clean, circuit, &fooled, &units, &mut rows, &mut results)?;
        let pictures = session.visualizations(&fooled.model, &units, &mut results)?;
        let mut reference = honest.clone();
        if let Some(targets) = fooled.targets(&session, &units) {
            reference.extend(session.visualizations(&clean, &targets, &mut results)?);
        }
        session.describe(&clean, &reference, &pictures, Some((circuit, &fooled)), &mut rows, &mut results)?;
        session.paths(&clean, &fooled.model, &units, &pictures, circuit.name(), &mut rows, &mut results)?;
    }
    rows.write(&mut results)?;
    Ok(results)
}
