//! Progress bars with the time left.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for `total` pieces of work. It draws on standard error, and only where that is a terminal.
pub fn bar(what: &str, total: usize) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{msg:<34} {bar:30.cyan/dim} {pos:>6}/{len:<6} {elapsed_precise} left {eta_precise}",
    )
    .expect("the template is well formed");
    let bar = ProgressBar::new(total as u64).with_style(style);
    bar.set_message(what.to_string());
    bar
}
