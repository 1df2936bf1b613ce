//! Makes the trials of a study, and lets models answer them.

use std::path::{Path, PathBuf};

use image::RgbImage;

use super::assemble::{Assembly, Shown};
use super::observers;
use super::occlusion::slide;
use super::pictures::{Set, diversity, sets};
use super::plan::{self, Plan};
use super::responses;
use super::settings::Study;
use super::stimuli::Stimuli;
use super::tables::Fooled;
use super::units::{Drawn, draw};
use super::work::{Work, rows};
use super::{report, tables};
use crate::cache;
use crate::circuit::{Circuit, fool};
use crate::error::{Error, Result};
use crate::experiment::Setting;
use crate::network::Network;
use crate::progress;
use crate::results::{Kind, Manifest, Results, described};
use crate::tables::CLEAN;
use crate::visualize::{Fault, Unit};

/// The responses of models.
const MODELS: &str = "models.jsonl";

/// Makes a study: pictures, plan, the models' responses and their scores, in the setting's folder.
///
/// # Errors
/// Usage for what the trials file gets wrong, or if the folder has answers to another plan; failure for what goes wrong, an
/// interruption; what took long is kept.
pub fn make(study: &Study, setting: &Setting) -> Result<Manifest> {
    let work = Work::prepare(study, setting)?;
    let drawn = draw(&work)?;
    for circuit in &study.circuits {
        if !drawn.iter().any(|d| fools(circuit, &d.unit)) {
            return Err(Error::usage(format!(
                "circuits: {} fools none of the units that were drawn; name its layer {} in [[depths]]",
                circuit.name(),
                circuit.layer()
            )));
        }
    }
    let settings = &study.settings;
    // Files that the settings name may change: the folder belongs to the network that they give.
    let config = serde_json::json!({
        "trials": described(settings), "experiment": described(&study.experiment),
        "circuits": described(&study.circuits), "other": described(&study.other),
        "digest": work.key,
    });
    let device = setting.executor.kind().name();
    let mut results = Results::open(&setting.out, Kind::Trials, &config, work.seed(), device)?;
    results.measured(&work.network, CLEAN);
    work.data.iter().for_each(|set| results.read(set.clone()));
    let units: Vec<&Unit> = drawn.iter().map(|d| &d.unit).collect();
    let honest = results.stage("visualizations", || sets(&work, &work.network, &work.key, &units, true))?;
    note_faults(CLEAN, &units, &honest, &mut results);
    let rows = results.stage("diversity", || diversity(&work, &drawn.iter().collect::<Vec<_>>(), &honest))?;
    let mut shown = vec![Shown { circuit: CLEAN.into(), sets: honest.into_iter().map(Some).collect() }];
    let mut networks = vec![];
    for circuit in &study.circuits {
        let (network, switch, noted) = results
            .stage(&format!("circuit {}", circuit.name()), || fool(&study.experiment, circuit, setting))?;
        results.measured(&network, circuit.name());
        noted.data.into_iter().for_each(|set| results.read(set));
        noted.warnings.into_iter().for_each(|warning| results.warn(warning));
        let sets = results.stage(&format!("visualizations with {}", circuit.name()), || {
            fooled_sets(&work, &network, circuit, &drawn)
        })?;
        let fooled = drawn.iter().zip(&sets).filter_map(|(d, set)| Some((&d.unit, set.clone()?)));
        let (of, made): (Vec<&Unit>, Vec<Set>) = fooled.unzip();
        note_faults(circuit.name(), &of, &made, &mut results);
        shown.push(Shown { circuit: circuit.name().into(), sets });
        networks.push((circuit, network, switch));
    }
    let all: Vec<&Drawn> = drawn.iter().collect();
    let extremes = results.stage("occluders", || slide(&work, &all))?;
    let stimuli = Stimuli::new(results.folder())?;
    let mut assembly =
        Assembly { work: &work, drawn: &drawn, shown: &shown, stimuli, trials: vec![], indifferent: 0 };
    results.stage("trials", || {
        assembly.matching()?;
        assembly.occlusion(&extremes)
    })?;
    let Assembly { stimuli, trials, indifferent, .. } = assembly;
    if indifferent > 0 {
        results.warn(format!(
            "{indifferent} queries were left out: no place of the occluder makes a difference"
        ));
    }
    let plan = Plan {
        name: settings.name.clone(),
        network: work.network.name().into(),
        seed: work.seed(),
        key: String::new(),
        depths: settings.depths.iter().map(|d| d.name.clone()).collect(),
        images: settings.matching.images.clone(),
        references: settings.occlusion.kinds.clone(),
        pairs: settings.occlusion.pairs,
        session: settings.session.clone(),
        trials,
    }
    .keyed();
    replaceable(results.folder(), &plan)?;
    results.table(&rows)?;
    let provenance = stimuli.provenance();
    results.table(&provenance)?;
    let mut switches = vec![];
    for ((circuit, network, switch), shown) in networks.iter().zip(&shown[1..]) {
        let Some(switch) = switch else { continue };
        let found = results.stage(&format!("what switches {} on", circuit.name()), || {
            switched(&work, circuit, network, switch, shown, &provenance)
        })?;
        switches.extend(found);
    }
    results.table(&switches)?;
    let folder = results.folder().to_path_buf();
    let other = results.stage("the other network", || observers::other(&work))?;
    if let Some((other, data)) = &other {
        results.measured(&other.network, "observer");
        data.iter().for_each(|set| results.read(set.clone()));
    }
    let other = other.map(|(other, _)| other);
    let answers = results.stage("observers", || observers::answer(&work, other.as_ref(), &plan, &folder))?;
    responses::write(&folder.join(responses::FOLDER).join(MODELS), &plan, &answers)?;
    plan.write(&folder)?;
    results.stage("report", || {
        let all = responses::read(&folder, &responses::files(&folder)?, &plan)?;
        report::write(&folder, &plan, &all)
    })?;
    results.tabled::<tables::Accuracy>();
    results.tabled::<tables::Trust>();
    results.complete(|_, _| Ok(()))
}

/// Notes pictures that show nothing of their units: nobody can match them.
fn note_faults(circuit: &str, units: &[&Unit], sets: &[Set], results: &mut Results) {
    let faulty = units.iter().zip(sets).filter_map(|(unit, set)| Some((unit.to_string(), set.fault?)));
    let faulty: Vec<(String, Fault)> = faulty.collect();
    if let Some((_, fault)) = faulty.first() {
        let names: Vec<&str> = faulty.iter().map(|(unit, _)| unit.as_str()).collect();
        results.warn(format!(
            "circuit {circuit}: visualizations of {} units show nothing of them ({}): {fault}",
            names.len(),
            names.join(", ")
        ));
    }
}

/// Refuses to put a plan in the place of another one that was answered: answers belong to one plan.
fn replaceable(folder: &Path, plan: &Plan) -> Result<()> {
    if Plan::read(folder).is_ok_and(|there| there.key == plan.key) {
        return Ok(());
    }
    // The models are asked again. A file of no answers is there after `serve`.
    let others = |file: &PathBuf| {
        !file.ends_with(MODELS) && std::fs::metadata(file).is_ok_and(|metadata| metadata.len() > 0)
    };
    match responses::files(folder)?.into_iter().find(others) {
        Some(file) => Err(Error::usage(format!(
            "{} has answers to the plan in {}, and this run makes another; nothing was replaced: give another --out, or \
             remove the answers",
            file.display(),
            folder.join(plan::FILE).display()
        ))),
        None => Ok(()),
    }
}

/// Whether a circuit changes what a unit shows.
fn fools(circuit: &Circuit, unit: &Unit) -> bool {
    unit.layer == circuit.layer() && circuit.units().is_none_or(|units| units.contains(&unit.channel))
}

/// What a fooled network shows of the drawn units that its circuit fools.
fn fooled_sets(
    work: &Work,
    network: &Network,
    circuit: &Circuit,
    drawn: &[Drawn],
) -> Result<Vec<Option<Set>>> {
    let fooled = |d: &&Drawn| !d.practice && fools(circuit, &d.unit);
    let units: Vec<&Unit> = drawn.iter().filter(fooled).map(|d| &d.unit).collect();
    let mut made = sets(work, network, &cache::key(&network.digest()), &units, true)?.into_iter();
    Ok(drawn.iter().map(|d| if fooled(&d) { made.next() } else { None }).collect())
}

/// How many pictures of each kind switch a circuit on.
fn switched(
    work: &Work,
    circuit: &Circuit,
    network: &Network,
    switch: &str,
    shown: &Shown,
    provenance: &[tables::Stimulus],
) -> Result<Vec<Fooled>> {
    let mut kinds: Vec<(&str, Vec<RgbImage>)> = vec![];
    for kind in ["exemplar", "natural", "query"] {
        let of = |s: &&tables::Stimulus| s.kind == kind && s.layer == circuit.layer();
        let files = provenance.iter().filter(of).map(|s| s.file.as_str());
        let images =
            files.map(|file| super::stimuli::read(&work.setting.out, file)).collect::<Result<_>>()?;
        kinds.push((kind, images));
    }
    let sets = shown.sets.iter().flatten().flat_map(|set| set.images.iter().cloned()).collect();
    kinds.push(("visualization", sets));
    let mut found = vec![];
    for (kind, images) in kinds {
        let bar = progress::bar(&format!("{kind} images in {}", circuit.name()), images.len());
        let on = work.forward(network, &[switch], &images.iter().collect::<Vec<_>>(), &bar, |mut maps| {
            rows(maps.remove(0)).iter().map(|row| row.iter().any(|&v| v > 0.0)).collect()
        })?;
        bar.end();
        found.push(Fooled {
            circuit: circuit.name().into(),
            layer: circuit.layer().into(),
            kind: kind.into(),
            images: on.len(),
            switched: on.iter().filter(|on| **on).count(),
        });
    }
    Ok(found)
}
