//! Lines for people: results on standard output, and all else on standard error.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether nobody reads the results any more.
static UNREAD: AtomicBool = AtomicBool::new(false);

/// Prints a line of results. Where nobody reads any more, this and the following lines are dropped, and the program goes on
/// to what else it has to do; where the line can't be written, it ends with an error.
pub fn out(line: Arguments<'_>) {
    if UNREAD.load(Ordering::Relaxed) {
        return;
    }
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{}", plain(line)).and_then(|()| stdout.flush()) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::BrokenPipe => UNREAD.store(true, Ordering::Relaxed),
        Err(e) => {
            aside(format_args!("error: cannot write to standard output: {e}"));
            std::process::exit(1);
        }
    }
}

/// Prints a line beside the results. One that can't be written is lost.
pub fn aside(line: Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{}", plain(line));
}

/// A line without what a terminal would obey: names may come from anybody.
fn plain(line: Arguments<'_>) -> String {
    let mut text = String::new();
    for c in line.to_string().chars() {
        match c {
            '\n' | '\t' => text.push(c),
            c if c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
    text
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
