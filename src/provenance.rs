//! What a result owes to the program and the machine that it came from.

use serde::{Deserialize, Serialize};
use trompe_kernels::InstructionSet;

/// When, how and where something was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Trompe's version.
    pub trompe: String,
    /// The commit that it was built from; empty, if that is not known.
    #[serde(default)]
    pub commit: String,
    /// When it was begun, in UTC.
    #[serde(default)]
    pub begun: String,
    /// The command line.
    #[serde(default)]
    pub command: Vec<String>,
    /// What the processor is called, or, where nobody says, its architecture.
    #[serde(default)]
    pub processor: String,
    /// Which of its vectors were used: `avx512`, `avx2` or `portable`.
    #[serde(default)]
    pub instructions: String,
    /// Logical cores of the machine.
    #[serde(default)]
    pub cores: usize,
}

impl Provenance {
    /// That of this process.
    pub fn here() -> Self {
        let now = jiff::Timestamp::now();
        Self {
            trompe: env!("CARGO_PKG_VERSION").into(),
            commit: env!("TROMPE_COMMIT").into(),
            begun: now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            command: std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect(),
            processor: processor(),
            instructions: InstructionSet::chosen().map_or_else(|_| String::new(), |set| set.name().into()),
            cores: std::thread::available_parallelism().map_or(1, |n| n.get()),
        }
    }
}

/// What the processor is called, or, where nobody says, its architecture.
fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    named.map_or_else(|| std::env::consts::ARCH.to_string(), |(_, name)| name.trim().to_string())
}
