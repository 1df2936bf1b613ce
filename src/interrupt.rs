//! Ctrl-C: work stops at the next safe point, and what was finished is kept.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes Ctrl-C set a flag instead of ending the process; a second one ends it at once.
pub fn install() {
    // A file that may not grow is an error of the write, not the end of the process.
    // SAFETY: the signal is ignored; no handler runs.
    #[cfg(unix)]
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }

    // A handler that is there already serves as well.
    let _ = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    });
}

/// To be called between pieces of work.
///
/// # Errors
/// [`Error::Interrupted`] once Ctrl-C was pressed.
pub fn check() -> Result<()> {
    match INTERRUPTED.load(Ordering::SeqCst) {
        true => Err(Error::Interrupted),
        false => Ok(()),
    }
}
