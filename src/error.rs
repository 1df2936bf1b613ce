//! The errors a person can act on, and the exit codes that go with them.

use std::path::Path;

/// What can go wrong. Every message names the file or key concerned and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user asked for something that cannot be: a typo in a config, an unknown layer. Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// The work itself failed: a corrupt file, a full disk, a circuit that does not hold. Exit code 1.
    #[error("{0}")]
    Failure(String),
    /// Ctrl-C. What was finished is kept. Exit code 130.
    #[error("interrupted; what was finished is kept")]
    Interrupted,
}

/// The result of anything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A mistake in what was asked for.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// A failure while doing it.
    pub fn failure(message: impl Into<String>) -> Self {
        Self::Failure(message.into())
    }

    /// The process's exit code for this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failure(_) => 1,
            Self::Interrupted => 130,
        }
    }
}

/// Turns a low-level error on a file into one that names the file and what was being done.
pub trait Context<T> {
    /// `doing` completes "cannot …": "read", "write", "create".
    fn on(self, doing: &str, path: &Path) -> Result<T>;
}

impl<T, E: std::fmt::Display> Context<T> for std::result::Result<T, E> {
    fn on(self, doing: &str, path: &Path) -> Result<T> {
        self.map_err(|e| Error::Failure(format!("cannot {doing} {}: {e}", path.display())))
    }
}
