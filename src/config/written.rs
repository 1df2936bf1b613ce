//! Experiment files that the program writes.

use toml::Value;

use super::Experiment;

/// An experiment as the text of its file, under a comment that says what it is.
pub fn written(experiment: &Experiment, comment: &str) -> String {
    let mut value = Value::try_from(experiment).expect("an experiment can be written");
    shorten(&mut value);
    let text = toml::to_string(&value).expect("a table can be written");
    let comment: String = comment.lines().map(|line| format!("# {line}\n")).collect();
    format!("{comment}\n{text}")
}

/// Numbers of 32 bits with the digits that they need: 0.485 for 0.48500001430511475.
fn shorten(value: &mut Value) {
    match value {
        Value::Float(number) if f64::from(*number as f32) == *number => {
            *number = (*number as f32).to_string().parse().unwrap_or(*number);
        }
        Value::Array(all) => all.iter_mut().for_each(shorten),
        Value::Table(all) => all.iter_mut().for_each(|(_, value)| shorten(value)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_is_written_is_read_as_it_was() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
        for name in ["fool", "detect", "squeezenet-onnx", "vit-small", "controls"] {
            let experiment = Experiment::read(&root.join(name).with_extension("toml")).unwrap();
            let text = written(&experiment, "of a test\nin two lines");
            assert!(text.starts_with("# of a test\n# in two lines\n"));
            assert!(!text.contains("00000"), "{text}");
            let again: Experiment = toml::from_str(&text).unwrap();
            assert_eq!(again, experiment, "{text}");
        }
    }
}
