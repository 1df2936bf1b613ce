//! How the command line shows progress: bars on a terminal, and lines with the time elsewhere.

use std::io::{IsTerminal, stderr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::print::note;
use crate::progress::{Observer, Task, observe};

/// Shows the progress of all work from now on, on standard error.
pub fn show() {
    match stderr().is_terminal() {
        true => observe(Bars),
        false => observe(Lines),
    }
}

/// A bar for each piece of work, with the time left, that goes when the work is over.
struct Bars;

struct Bar(ProgressBar);

impl Observer for Bars {
    fn begin(&self, what: &str, total: usize) -> Box<dyn Task> {
        let style = ProgressStyle::with_template(
            "{msg:<34} {bar:30.cyan/dim} {pos:>6}/{len:<6} {elapsed_precise} left {eta_precise}",
        )
        .expect("the template is well formed");
        let bar = ProgressBar::new(total as u64).with_style(style);
        bar.set_message(what.to_string());
        Box::new(Bar(bar))
    }
}

impl Task for Bar {
    fn reached(&self, done: u64) {
        self.0.set_position(done);
    }

    fn renamed(&self, what: &str) {
        self.0.set_message(what.to_string());
    }

    fn ended(&self) {
        self.0.finish_and_clear();
    }
}

/// Work that takes longer than this is worth a line.
const SOON: Duration = Duration::from_secs(10);

/// How long until the next line about the same work.
const THEN: Duration = Duration::from_secs(60);

/// A line now and then for work that takes long.
struct Lines;

struct Line {
    total: u64,
    began: Instant,
    state: Mutex<State>,
}

struct State {
    what: String,
    /// When the next line is due.
    due: Instant,
    written: bool,
}

impl Observer for Lines {
    fn begin(&self, what: &str, total: usize) -> Box<dyn Task> {
        let began = Instant::now();
        let state = State { what: what.into(), due: began + SOON, written: false };
        Box::new(Line { total: total as u64, began, state: Mutex::new(state) })
    }
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Task for Line {
    fn reached(&self, done: u64) {
        let mut state = self.state();
        let now = Instant::now();
        if now >= state.due && done < self.total {
            state.due = now + THEN;
            state.written = true;
            let took = now - self.began;
            let left = took.mul_f64((self.total - done) as f64 / done.max(1) as f64);
            note!("{} {}: {done} of {}, {} left", clock(), state.what, self.total, duration(left));
        }
    }

    fn renamed(&self, what: &str) {
        self.state().what = what.into();
    }

    fn ended(&self) {
        let state = self.state();
        if state.written {
            note!("{} {}: over after {}", clock(), state.what, duration(self.began.elapsed()));
        }
    }
}

/// The time of day, in UTC as manifests have it.
fn clock() -> impl std::fmt::Display {
    jiff::Timestamp::now().strftime("%H:%M:%SZ").to_string()
}

/// A duration in minutes and seconds.
fn duration(of: Duration) -> String {
    let seconds = of.as_secs_f64().round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_words() {
        let words = [0.4, 59.6, 61.0, 7322.0].map(|s| duration(Duration::from_secs_f64(s)));
        assert_eq!(words, ["0 s", "1 min 0 s", "1 min 1 s", "2 h 2 min"]);
    }
}
