//! Files: where they may be written, what they are called, and how they come to be there, whole or not at all.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use image::{ImageFormat, RgbImage};
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

use crate::error::{Context, Error, Result};

/// Reads a TOML file.
///
/// # Errors
/// Usage, naming the file, the line and the key, if it is not there or does not say what it should.
pub fn toml<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).on("read", path).map_err(|e| Error::usage(e.to_string()))?;
    toml::from_str(&text).map_err(|e| Error::usage(format!("{}: {e}", path.display())))
}

/// The folder that a file is in, `.` for a bare name.
pub fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a file.
///
/// # Errors
/// As [`Unfinished`]'s.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = Unfinished::beside(path)?;
    file.write_all(bytes).on("write", path)?;
    file.finish()
}

/// Writes a picture as PNG.
///
/// # Errors
/// As [`Unfinished`]'s.
pub fn png(path: &Path, picture: &RgbImage) -> Result<()> {
    let mut bytes = io::Cursor::new(vec![]);
    picture.write_to(&mut bytes, ImageFormat::Png).on("encode", path)?;
    write(path, bytes.get_ref())
}

/// A file that appears under its name only once it is whole, readable by whom the umask says. Until then, and if it
/// never is, what was there stays.
pub struct Unfinished {
    file: NamedTempFile,
    path: PathBuf,
}

impl Unfinished {
    /// Begins a file in the folder that it is to be in.
    ///
    /// # Errors
    /// Usage, if something other than a file is there; failure, if the folder can't be written to.
    pub fn beside(path: &Path) -> Result<Self> {
        // A link stays one; what it leads to is replaced.
        let path = match path.is_symlink() {
            true => path.canonicalize().map_err(|e| {
                Error::usage(format!(
                    "{} is a link that leads nowhere ({e}): name another file",
                    path.display()
                ))
            })?,
            false => path.into(),
        };
        plain(&path)?;
        // Who writes by name may go by its ending.
        let ending = path.extension().map_or_else(String::new, |e| format!(".{}", e.to_string_lossy()));
        let mut builder = tempfile::Builder::new();
        builder.prefix(UNFINISHED).suffix(&ending);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        // The name that it has meanwhile says nothing to anybody.
        let file = builder
            .tempfile_in(folder_of(&path))
            .map_err(|e| std::io::Error::from(e.kind()))
            .on("write", &path)?;
        Ok(Self { file, path })
    }

    /// Where it is until it is finished, for those who write by name.
    pub fn at(&self) -> &Path {
        self.file.path()
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// Failure, if that can't be done.
    pub fn finish(self) -> Result<()> {
        // Who writes by name may have put another file there.
        let permissions = self.file.as_file().metadata().on("write", &self.path)?.permissions();
        std::fs::set_permissions(self.at(), permissions).on("write", &self.path)?;
        self.file.persist(&self.path).map_err(|e| e.error).on("write", &self.path)?;
        Ok(())
    }
}

impl Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The file itself: the other would name the path that it has meanwhile.
        self.file.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

/// Refuses to replace what is no file (a folder, a device, a pipe) or is protected.
fn plain(path: &Path) -> Result<()> {
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(Error::usage(format!("{} is a folder: name a file to write", path.display())));
    }
    match std::fs::metadata(path) {
        Ok(there) if there.is_file() && there.permissions().readonly() => {
            Err(Error::failure(format!("{} is write-protected: name another file", path.display())))
        }
        Ok(there) if !there.is_file() => {
            let what = if there.is_dir() { "a folder" } else { "no plain file" };
            Err(Error::usage(format!("{} is {what}: name a file to write", path.display())))
        }
        _ => Ok(()),
    }
}

/// Opens a file of what nobody but its owner may read, to append to.
///
/// # Errors
/// Failure, if it can't be opened.
pub fn secret(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).on("open", path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // One that was there before may be open to others.
        file.set_permissions(std::fs::Permissions::from_mode(0o600)).on("protect", path)?;
    }
    Ok(file)
}

/// Refuses a file that could not be written in the end, before the work for it begins.
///
/// # Errors
/// Usage, if its folder is not there or something other than a file has its name; failure, if the folder can't be
/// written to.
pub fn writable(path: &Path) -> Result<()> {
    let folder = folder_of(path);
    if !folder.is_dir() {
        return Err(Error::usage(format!(
            "cannot write {}: there is no folder {}; make it first",
            path.display(),
            folder.display()
        )));
    }
    Unfinished::beside(path).map(drop)
}

/// Makes a folder, unless it is there, and refuses one that could not be written to.
///
/// # Errors
/// Failure, naming it.
pub fn folder(path: &Path) -> Result<()> {
    if path.exists() && !path.is_dir() {
        return Err(Error::failure(format!("{} is no folder: name one, or a new one", path.display())));
    }
    std::fs::create_dir_all(path).on("create the folder", path)?;
    tempfile::tempfile_in(path)
        .map_err(|e| std::io::Error::from(e.kind()))
        .on("write in the folder", path)
        .map(drop)
}

/// Refuses work whose results would not fit where they are to be. `folder` need not be there yet.
///
/// # Errors
/// Failure, with what is needed and what there is.
pub fn room(folder: &Path, bytes: u64) -> Result<()> {
    let there = folder.ancestors().find(|f| f.is_dir()).unwrap_or(Path::new("."));
    let megabytes = |n: u64| n.div_ceil(1 << 20);
    match fs4::available_space(there) {
        Ok(free) if free < bytes => Err(Error::failure(format!(
            "{} has {} MB left and about {} MB are needed: make room, or name another place",
            folder.display(),
            megabytes(free),
            megabytes(bytes)
        ))),
        // Where nobody can tell, the write itself will.
        _ => Ok(()),
    }
}

/// The longest name that is given to a file, so that endings and numbers find room behind it.
const LONGEST: usize = 120;

/// A file name for what a user or a network calls something. Different words have different names, none leads out of its
/// folder, and none is longer than file systems take: `/` becomes `+`, what is neither letter, digit, `.`, `_` nor `-`
/// its bytes as `=2A`, and a long name ends in a hash.
pub fn name(words: &str) -> String {
    let mut name = String::new();
    for byte in words.bytes() {
        match byte {
            b'/' => name.push('+'),
            b'.' if name.is_empty() => name.push_str("=2E"),
            b'.' | b'_' | b'-' => name.push(byte.into()),
            other if other.is_ascii_alphanumeric() => name.push(other.into()),
            other => write!(name, "={other:02X}").expect("a string takes text"),
        }
    }
    if name.is_empty() || name.len() > LONGEST {
        // Only such a name has a ~ in it.
        let hash = blake3::hash(words.as_bytes()).to_hex();
        name.truncate(LONGEST - 17);
        write!(name, "~{}", &hash[..16]).expect("a string takes text");
    }
    name
}

/// The lock that a folder is filled under.
const LOCK: &str = ".lock";

/// What names of files begin with that are not finished.
const UNFINISHED: &str = ".unfinished-";

/// Whether a file of a folder is none of its contents: its lock, or what a process left that was killed.
pub fn is_aside(name: &std::ffi::OsStr) -> bool {
    Lock::is(name) || name.to_string_lossy().starts_with(UNFINISHED)
}

/// Held by who fills a folder: nobody else does meanwhile.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] File);

impl Lock {
    /// Whether a file of a folder is its lock.
    pub fn is(name: &std::ffi::OsStr) -> bool {
        name == LOCK
    }

    /// Locks a folder; `instead` says what to do where it is locked already.
    ///
    /// # Errors
    /// Usage, if another process has it locked; failure, if it can't be.
    pub fn take(folder: &Path, instead: &str) -> Result<Self> {
        let path = folder.join(LOCK);
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).open(&path).on("open", &path)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(Error::usage(format!(
                "{} is in use: another trompe is at work in it; {instead}",
                folder.display()
            ))),
            Err(TryLockError::Error(e)) => {
                Err(Error::failure(format!("cannot lock {}: {e}", path.display())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bare_name_is_in_this_folder() {
        for (file, folder) in [("a.png", "."), ("b/a.png", "b"), ("/a.png", "/")] {
            assert_eq!(folder_of(Path::new(file)), Path::new(folder));
        }
    }

    #[test]
    fn names_stay_in_their_folder_and_are_told_apart() {
        for (words, expected) in [
            ("features.3", "features.3"),
            ("/a/b", "+a+b"),
            ("_a_b", "_a_b"),
            ("..", "=2E."),
            ("a b", "a=20b"),
        ] {
            assert_eq!(name(words), expected);
        }
        let long = ["x".repeat(352), "x".repeat(353), format!("{}y", "x".repeat(351)), String::new()];
        let names: HashSet<String> = long.iter().map(|words| name(words)).collect();
        assert_eq!(names.len(), 4);
        assert!(names.iter().all(|name| name.len() <= LONGEST && !name.is_empty()));
    }

    proptest! {
        #[test]
        fn different_words_have_different_names(a in "[ -~é/]{0,9}", b in "[ -~é/]{0,9}") {
            prop_assert_eq!(a == b, name(&a) == name(&b));
            let path = Path::new("folder").join(name(&a));
            prop_assert_eq!(path.components().count(), 2);
        }
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_the_umasks_and_secrets_are_the_owners() {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let folder = tempfile::tempdir().unwrap();
        let [ours, plain, log] = ["ours", "plain", "log"].map(|f| folder.path().join(f));
        File::create(&plain).unwrap();
        write(&ours, b"x").unwrap();
        assert_eq!(mode(&ours), mode(&plain));
        File::create(&log).unwrap();
        drop(secret(&log).unwrap());
        assert_eq!(mode(&log), 0o600);
    }

    #[test]
    fn what_is_not_finished_leaves_nothing_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write(&path, b"before").unwrap();
        let mut file = Unfinished::beside(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(std::fs::read(&path).unwrap(), b"before");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        for bad in [folder.path(), Path::new("/dev/null"), &folder.path().join("none/a")] {
            assert!(writable(bad).is_err() && write(bad, b"x").is_err());
        }
        assert!(room(folder.path(), u64::MAX).is_err() && room(&folder.path().join("new"), 1).is_ok());
    }

    #[test]
    fn a_folder_is_locked_once() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(folder.path(), "wait").unwrap();
        assert_eq!(Lock::take(folder.path(), "wait").unwrap_err().exit_code(), 2);
        drop(lock);
        Lock::take(folder.path(), "wait").unwrap();
    }
}
