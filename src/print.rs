//! Lines for people: results on standard output, and all else on standard error.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};

/// Prints a line of results. Where nobody reads any more, the program ends as if all were read; where the line can't be
/// written, it ends with an error.
pub fn out(line: Arguments<'_>) {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(e) => {
            aside(format_args!("error: cannot write to standard output: {e}"));
            std::process::exit(1);
        }
    }
}

/// Prints a line beside the results. One that can't be written is lost.
pub fn aside(line: Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// A line of results.
macro_rules! say {
    ($($words:tt)*) => { $crate::print::out(format_args!($($words)*)) };
}

/// A line beside the results.
macro_rules! note {
    ($($words:tt)*) => { $crate::print::aside(format_args!($($words)*)) };
}

pub(crate) use {note, say};
