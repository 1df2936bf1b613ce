//! Experiment files that build on another: `base = "other.toml"` takes what that file says wherever this one says nothing.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::Experiment;
use crate::error::{Error, Result};
use crate::files;

/// The experiment of a file, with what it takes from its base.
///
/// # Errors
/// Usage, naming the file and the key.
pub(super) fn read(path: &Path) -> Result<Experiment> {
    let own: Table = files::toml(path)?;
    if !own.contains_key("base") {
        // With the lines of mistakes.
        return files::toml(path);
    }
    let whole = with_base(path, own, &mut vec![])?;
    Experiment::deserialize(Value::Table(whole))
        .map_err(|e| Error::usage(format!("{}, with its base: {e}", path.display())))
}

/// What a file says, on top of what its base says. `above` are the files that build on it.
fn with_base(path: &Path, mut own: Table, above: &mut Vec<PathBuf>) -> Result<Table> {
    let Some(base) = own.remove("base") else { return Ok(own) };
    let Value::String(base) = base else {
        return Err(Error::usage(format!("{}: base is no file: give its path in quotes", path.display())));
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let file = folder.join(&base);
    above.push(path.into());
    if above.contains(&file) {
        return Err(Error::usage(format!("{}: base goes round in a circle: {base}", path.display())));
    }
    let mut whole = with_base(&file, files::toml(&file)?, above)?;
    // Circuits are named from where the file is that names them.
    let inner = Path::new(&base).parent().unwrap_or(Path::new(""));
    let moved = |circuit: &mut Value| {
        if let Value::String(circuit) = circuit {
            *circuit = inner.join(&*circuit).to_string_lossy().into_owned();
        }
    };
    whole.get_mut("circuits").and_then(Value::as_array_mut).into_iter().flatten().for_each(moved);
    let cases = whole.get_mut("detect").and_then(|detect| detect.get_mut("cases"));
    let cases = cases.and_then(Value::as_array_mut).into_iter().flatten();
    cases.filter_map(|case| case.get_mut("circuit")).for_each(moved);
    lay(&mut whole, own);
    Ok(whole)
}

/// Lays a table on another: tables key by key, all else as a whole; so, too, those that say their `kind`, since another kind has
/// other keys.
fn lay(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(under)), Value::Table(over)) if !over.contains_key("kind") => lay(under, over),
            (_, value) => drop(under.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_is_on_top_counts() {
        let mut under = table("a = 1\nlist = [1, 2]\n[b]\nx = 1\ny = 2\n[c]\nkind = 'scenes'\nimages = 3");
        lay(&mut under, table("a = 2\nlist = [3]\n[b]\ny = 4\n[c]\nkind = 'folder'\npath = 'p'"));
        assert_eq!(under, table("a = 2\nlist = [3]\n[b]\nx = 1\ny = 4\n[c]\nkind = 'folder'\npath = 'p'"));
    }

    #[test]
    fn circuits_are_named_from_their_own_file() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        std::fs::create_dir(folder.path().join("inner")).unwrap();
        write(
            "inner/base.toml",
            "circuits = ['../c.toml']\nname = 'base'\n[detect]\ncases = [{ circuit = 'd.toml' }]",
        );
        write("top.toml", "base = 'inner/base.toml'\nname = 'top'");
        let path = folder.path().join("top.toml");
        let whole = with_base(&path, files::toml(&path).unwrap(), &mut vec![]).unwrap();
        let want =
            "circuits = ['inner/../c.toml']\nname = 'top'\n[detect]\ncases = [{ circuit = 'inner/d.toml' }]";
        assert_eq!(whole, table(want));
        write("round.toml", "base = 'round.toml'");
        let path = folder.path().join("round.toml");
        let error = with_base(&path, files::toml(&path).unwrap(), &mut vec![]).unwrap_err();
        assert!(error.to_string().contains("circle"), "{error}");
    }
}
