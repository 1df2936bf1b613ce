//! The errors a person can act on, and the exit codes that go with them.

use std::path::Path;

/// What can go wrong. Every message names the file or key concerned and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user asked for something that cannot be: a typo in a config, an unknown layer. Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// The work itself failed: a corrupt file, a full disk, a circuit that does not hold. Exit code 1.
    #[error("{message}")]
    Failure {
        /// What to tell the user; it says what the source says.
        message: String,
        /// What went wrong below, where something did.
        source: Option<Source>,
    },
    /// Ctrl-C. What was finished is kept. Exit code 130.
    #[error("interrupted; what was finished is kept")]
    Interrupted,
}

/// An error of another crate.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// The result of anything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A mistake in what was asked for.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// A failure while doing it.
    pub fn failure(message: impl Into<String>) -> Self {
        Self::Failure { message: message.into(), source: None }
    }

    /// The process's exit code for this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failure { .. } => 1,
            Self::Interrupted => 130,
        }
    }
}

/// Turns a low-level error on a file into one that names the file and what was being done.
pub trait Context<T> {
    /// `doing` completes "cannot …": "read", "write", "create".
    fn on(self, doing: &str, path: &Path) -> Result<T>;
}

impl<T, E: Into<Source>> Context<T> for std::result::Result<T, E> {
    fn on(self, doing: &str, path: &Path) -> Result<T> {
        self.map_err(|e| {
            let source = e.into();
            let message = format!("cannot {doing} {}: {source}", path.display());
            Error::Failure { message, source: Some(source) }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn a_failure_says_what_was_done_to_which_file_and_keeps_its_source() {
        let missing = Path::new("no/such/file");
        let error = std::fs::read(missing).on("read", missing).unwrap_err();
        assert!(error.to_string().starts_with("cannot read no/such/file: "), "{error}");
        let source = error.source().unwrap().downcast_ref::<std::io::Error>().unwrap();
        assert_eq!((source.kind(), error.exit_code()), (std::io::ErrorKind::NotFound, 1));
    }
}
