//! What took long to make is kept under the hash of what made it, so that a later run, or one that was interrupted,
//! finds it again.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Context, Error, Result};
use crate::files::{self, Unfinished};

/// Part of every key: raise it when code changes what the same settings make.
const GENERATION: u32 = 3;

/// A folder of results by hash.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

/// The hash of everything that decides a result, as 32 hexadecimal digits.
pub fn key(of: &impl Serialize) -> String {
    let text = serde_json::to_string(&(GENERATION, of)).expect("settings are plain data");
    blake3::hash(text.as_bytes()).to_hex()[..32].to_string()
}

impl Cache {
    /// A cache in this folder, which is made when something is first kept.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file for a result: read with `load` if it is there, else made and stored with `make`, which is given a
    /// path to write to; the file appears under its name only once it is whole. A cached file that can't be read
    /// is made again.
    ///
    /// # Errors
    /// Those of `make`, or a failure to write.
    pub fn get_or<T>(
        &self,
        what: &str,
        of: &impl Serialize,
        extension: &str,
        load: impl Fn(&Path) -> Result<T>,
        make: impl FnOnce(&Path) -> Result<T>,
    ) -> Result<T> {
        let folder = self.folder.join(what);
        let path = folder.join(format!("{}.{extension}", key(of)));
        if path.is_file()
            && let Ok(found) = load(&path)
        {
            return Ok(found);
        }
        std::fs::create_dir_all(&folder).map_err(|e| {
            Error::failure(format!(
                "cannot create {}: {e}; name another place for what is kept with --cache or TROMPE_CACHE",
                folder.display()
            ))
        })?;
        let unfinished = Unfinished::beside(&path)?;
        let made = make(unfinished.at())?;
        unfinished.finish()?;
        Ok(made)
    }

    /// A result that is plain data, kept as JSON.
    ///
    /// # Errors
    /// Those of `make`, or a failure to write.
    pub fn json<T: Serialize + DeserializeOwned>(
        &self,
        what: &str,
        of: &impl Serialize,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let read = |path: &Path| {
            let bytes = std::fs::read(path).on("read", path)?;
            serde_json::from_slice(&bytes).on("read", path)
        };
        self.get_or(what, of, "json", read, |path| {
            let bytes = serde_json::to_vec(&make()?).on("write", path)?;
            files::write(path, &bytes)?;
            // As a later run will read it, so that both agree to the last digit.
            serde_json::from_slice(&bytes).on("read", path)
        })
    }

    /// Whether a result is there.
    pub fn has(&self, what: &str, of: &impl Serialize, extension: &str) -> bool {
        self.folder.join(what).join(format!("{}.{extension}", key(of))).is_file()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_once_and_never_keeps_what_failed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let load = |p: &Path| std::fs::read_to_string(p).on("read", p);
        let failed = cache.get_or("x", &1, "txt", load, |p| {
            std::fs::write(p, "half").unwrap();
            Err(Error::Interrupted)
        });
        assert!(failed.is_err() && !cache.has("x", &1, "txt"));
        let make = |text: &'static str| {
            move |p: &Path| {
                std::fs::write(p, text).unwrap();
                Ok(text.to_string())
            }
        };
        assert_eq!(cache.get_or("x", &1, "txt", load, make("a")).unwrap(), "a");
        assert_eq!(cache.get_or("x", &1, "txt", load, make("b")).unwrap(), "a");
        assert_eq!(cache.get_or("x", &2, "txt", load, make("b")).unwrap(), "b");
        assert_eq!(std::fs::read_dir(folder.path().join("x")).unwrap().count(), 2);
    }
}
