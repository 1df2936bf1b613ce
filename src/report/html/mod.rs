//! `report.html`: the result in order, with its figures and numbers, in one file that needs nothing beside it.

mod audit;
mod detection;
mod sanity_check;
pub mod visualizations;

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minijinja::{AutoEscape, Environment, Value, context};

use super::figures::{Data, Figure, Topic};
use crate::config::Experiment;
use crate::error::{Context, Error, Result};
use crate::files;
use crate::results::{Kind, Manifest};

/// What an undefined value is shown as.
const UNDEFINED: &str = "undefined";

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| UNDEFINED.into(), |v| format!("{v:.3}"))
}

/// A PNG file as a page holds it.
fn inline(folder: &Path, file: &str) -> Result<String> {
    let path = folder.join(file);
    let bytes = std::fs::read(&path).on("read", &path)?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(bytes)))
}

/// The figures of a report; a page numbers them as they come.
struct Figures<'a>(Vec<(&'a Topic, Value)>);

impl<'a> Figures<'a> {
    fn read(folder: &Path, figures: &'a [Figure]) -> Result<Self> {
        let mut all = vec![];
        for figure in figures {
            let data = inline(folder, &format!("figures/{}.png", figure.name))?;
            all.push((&figure.topic, context! { caption => figure.caption.clone(), data }));
        }
        Ok(Self(all))
    }

    fn of(&self, topic: Topic) -> Vec<Value> {
        self.0.iter().filter(|(t, _)| **t == topic).map(|(_, figure)| figure.clone()).collect()
    }
}

/// What a report is made from.
pub struct Content<'a> {
    folder: &'a Path,
    manifest: &'a Manifest,
    data: &'a Data,
    figures: &'a Figures<'a>,
}

/// The page of a kind of results: a file beside this one, with its template, and its name in the list below.
pub trait Report: Sync {
    /// What results it shows.
    fn kind(&self) -> Kind;

    /// Its template, which extends `base`.
    fn template(&self) -> &'static str;

    /// What the template shows.
    ///
    /// # Errors
    /// Failure, if a picture or the configuration can't be read.
    fn values(&self, content: &Content<'_>) -> Result<Value>;
}

/// Every report there is.
fn all() -> [&'static dyn Report; 3] {
    [&sanity_check::Page, &detection::Page, &audit::Page]
}

/// Writes the report of a results folder.
///
/// # Errors
/// Failure, if it does not say what it is of, a figure can't be read or the file can't be written.
pub fn write(folder: &Path, manifest: &Manifest, data: &Data, figures: &[Figure]) -> Result<()> {
    let figures = Figures::read(folder, figures)?;
    let report = all().into_iter().find(|report| Some(report.kind()) == manifest.kind).ok_or_else(|| {
        Error::failure(format!(
            "{}: an earlier version wrote it, and not what its results are of: give its experiment's command again",
            folder.display()
        ))
    })?;
    let values = report.values(&Content { folder, manifest, data, figures: &figures })?;
    let path = folder.join("report.html");
    let common = context! {
        name => manifest.part::<Experiment>("experiment")?.name,
        manifest => Value::from(minijinja::value::Serde(manifest)),
        config => serde_json::to_string_pretty(&manifest.config).unwrap_or_default(),
    };
    page(&path, report.template(), context! { ..values, ..common })
}

/// Writes a page from a template that extends `base`.
fn page(path: &Path, template: &'static str, values: Value) -> Result<()> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    for (name, text) in [("base", include_str!("base.html")), ("page", template)] {
        environment.add_template(name, text).on("write", path)?;
    }
    let page = environment.get_template("page").and_then(|t| t.render(values)).on("write", path)?;
    files::write(path, page.as_bytes())
}
