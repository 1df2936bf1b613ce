//! What the test programs share.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::{Arguments, Trial};
use trompe::data::{ChannelOrder, Preprocessing};

/// Where the shared test data are, if this machine has them.
#[allow(dead_code)]
pub fn data() -> PathBuf {
    std::env::var_os("TROMPE_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from)
}

/// The browser of this machine, if it has one.
#[allow(dead_code)]
pub fn browser() -> Option<&'static str> {
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
        Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    })
}

/// What a test may need that a machine may lack.
#[allow(dead_code)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Real networks and photographs, in the folder that TROMPE_DATA names.
    Data,
    /// A browser.
    Browser,
}

/// A test's name, what it needs, and what it does.
pub type Test = (&'static str, Option<Need>, fn());

/// Runs tests of which some need what a machine may lack: those are reported as ignored there.
#[allow(dead_code)]
pub fn run(tests: &[Test]) {
    let trials = tests.iter().map(|&(name, need, test)| {
        let (lacking, kind) = match need {
            None => (false, ""),
            Some(Need::Data) => (!data().join("squeezenet1_0-imagenet").is_dir(), "needs TROMPE_DATA"),
            Some(Need::Browser) => (browser().is_none(), "needs chromium"),
        };
        let trial = Trial::test(name, move || {
            test();
            Ok(())
        });
        trial.with_kind(kind).with_ignored_flag(lacking)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

/// The program, whatever the environment says of data and cache.
#[allow(dead_code)]
pub fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_trompe"));
    program.env_remove("TROMPE_DATA").env_remove("TROMPE_CACHE");
    program
}

/// What SqueezeNet's Deep Compression release takes.
#[allow(dead_code)]
pub fn caffe() -> Preprocessing {
    Preprocessing {
        resize: None,
        crop: None,
        channel_order: ChannelOrder::Bgr,
        scale: 255.0,
        mean: [104.0, 117.0, 123.0],
        std: [1.0; 3],
    }
}

/// The embedded experiment at a reduced size, with a gate, in a folder of its own.
#[allow(dead_code)]
pub struct Experiment {
    pub folder: tempfile::TempDir,
}

#[allow(dead_code)]
impl Experiment {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        for kind in ["configs", "circuits"] {
            std::fs::create_dir(folder.path().join(kind)).unwrap();
        }
        let experiment = Self { folder };
        let circuit = std::fs::read_to_string(source.join("circuits/gate.toml")).unwrap();
        experiment.write("circuits/gate.toml", &circuit);
        experiment.edit("circuits/gate.toml", "classes = [0, 1, 2, 4, 5, 6, 8, 10]", "classes = [0, 2]");
        experiment.edit("circuits/gate.toml", "visualizations_per_class = 4", "visualizations_per_class = 1");
        experiment.edit("circuits/gate.toml", "units_per_layer = 8", "units_per_layer = 1");
        experiment.edit("circuits/gate.toml", "steps = 3000", "steps = 10");
        let config = std::fs::read_to_string(source.join("configs/fool.toml")).unwrap();
        experiment.write("configs/fool.toml", &config);
        experiment.edit("configs/fool.toml", "images = 20000", "images = 200");
        experiment.edit("configs/fool.toml", "images = 1000", "images = 60");
        experiment.edit("configs/fool.toml", "steps = 256", "steps = 6");
        experiment.edit("configs/fool.toml", "images_per_class = 20", "images_per_class = 4\nbootstrap = 50");
        experiment.edit("configs/fool.toml", "per_class = 5", "per_class = 2\nclasses = [0, 1, 2]");
        experiment
    }

    /// The same, and beside it the experiment with every circuit, whose training images are measured on, too.
    pub fn with_every_circuit() -> Self {
        let experiment = Self::new();
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        std::fs::create_dir(experiment.path("circuits/pictures")).unwrap();
        for file in ["eye", "sunflower", "lighthouse"] {
            let file = format!("circuits/pictures/{file}.png");
            std::fs::copy(source.join(&file), experiment.path(&file)).unwrap();
        }
        for file in [
            "circuits/pictures.toml",
            "circuits/hidden.toml",
            "circuits/silent.toml",
            "circuits/silent-unit.toml",
            "configs/circuits.toml",
        ] {
            experiment.write(file, &std::fs::read_to_string(source.join(file)).unwrap());
        }
        for (circuit, units, steps) in
            [("circuits/pictures.toml", 8, 3000), ("circuits/hidden.toml", 16, 6000)]
        {
            experiment.edit(circuit, "classes = [0, 1, 2, 4, 5, 6, 8, 10]", "classes = [4, 5]");
            experiment.edit(circuit, "visualizations_per_class = 4", "visualizations_per_class = 1");
            experiment.edit(circuit, &format!("units_per_layer = {units}"), "units_per_layer = 1");
            experiment.edit(circuit, &format!("steps = {steps}"), "steps = 10");
        }
        // As many layers as other gates have.
        let layers = "[\"bn2\", \"bn3\", \"bn4\", \"bn5\", \"bn6\", \"bn7\", \"bn8\", \"bn9\"]";
        experiment.edit("circuits/hidden.toml", layers, "[\"relu3\", \"relu5\", \"relu7\", \"relu9\"]");
        // A gate that has learnt next to nothing misses some, and learns of them.
        experiment.edit("circuits/pictures.toml", "steps = 10", "steps = 10\nrounds = 1");
        experiment.edit("circuits/hidden.toml", "offset = 16", "offset = 16\nvisualized = [3, 4]");
        for circuit in ["circuits/silent.toml", "circuits/silent-unit.toml"] {
            experiment.edit(circuit, "[5, 17, 29, 41, 53, 65, 77, 89]", "[5, 17]");
        }
        let config = "configs/circuits.toml";
        experiment.edit(config, "images = 20000", "images = 200");
        experiment.edit(
            config,
            "images = 1000 }",
            "images = 60 }\nevaluation = [{ kind = \"scenes\", split = \"train\", images = 200 }]",
        );
        experiment.edit(config, "steps = 256", "steps = 6");
        experiment.edit(config, "steps = 64", "steps = 2");
        experiment.edit(config, "images_per_class = 20", "images_per_class = 4\nbootstrap = 20");
        experiment.edit(config, "per_class = 5", "per_class = 2\nclasses = [0, 3, 7]");
        experiment.edit(config, "units = 6", "units = 2");
        experiment.edit(config, "units_per_layer = 6", "units_per_layer = 2");
        experiment.edit(
            config,
            "layers = [\"bn1\", \"bn3\", \"bn5\", \"bn7\", \"bn8\", \"bn9\", \"classifier\"]",
            "layers = [\"bn1\", \"bn5\"]",
        );
        experiment
    }

    /// The same, and beside it the reduced benchmark of detectors, reduced further.
    pub fn for_detectors() -> Self {
        let experiment = Self::with_every_circuit();
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        std::fs::create_dir(experiment.path("circuits/detect")).unwrap();
        for file in ["permuted.toml", "silent.toml", "slingshot.toml"].map(|f| format!("circuits/detect/{f}"))
        {
            experiment.write(&file, &std::fs::read_to_string(source.join(&file)).unwrap());
        }
        let gate = "circuits/detect/permuted.toml";
        experiment.edit(gate, "classes = [0, 1, 2, 4, 5, 6, 8, 10]", "classes = [4, 5]");
        experiment.edit(gate, "visualizations_per_class = 4", "visualizations_per_class = 1");
        experiment.edit(gate, "units_per_layer = 16", "units_per_layer = 1");
        experiment.edit(gate, "steps = 6000", "steps = 10");
        experiment.edit("circuits/detect/slingshot.toml", "steps = 600", "steps = 4");
        let config = "configs/detect-small.toml";
        experiment.write(config, &std::fs::read_to_string(source.join(config)).unwrap());
        experiment.edit(config, "images = 20000", "images = 200");
        experiment.edit(config, "images = 1000", "images = 60");
        experiment.edit(config, "natural_images = 300", "natural_images = 40\nbootstrap = 50");
        experiment.edit(config, "steps = 128", "steps = 6");
        experiment.edit(config, "manipulated = 8", "manipulated = 2");
        experiment.edit(config, "clean = 8", "clean = 2");
        experiment
    }

    /// The files that the cache holds, with the time at which each was written.
    pub fn kept(&self) -> Vec<(PathBuf, std::time::SystemTime)> {
        let folders = std::fs::read_dir(self.path("results/.cache")).unwrap().flatten();
        let files = folders.filter_map(|folder| std::fs::read_dir(folder.path()).ok()).flatten().flatten();
        let mut all: Vec<_> =
            files.map(|file| (file.path(), file.metadata().unwrap().modified().unwrap())).collect();
        all.sort();
        all
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Replaces a piece of text that must be there.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{name} has no \"{from}\"");
        self.write(name, &text.replace(from, to));
    }

    /// Runs the program here.
    pub fn trompe(&self, arguments: &[&str]) -> Outcome {
        self.run(program().args(arguments))
    }

    /// Runs a command here.
    pub fn run(&self, command: &mut Command) -> Outcome {
        let output = command.current_dir(self.folder.path()).output().unwrap();
        Outcome {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub fn sanity_check(&self) -> Outcome {
        self.trompe(&["sanity-check", "--config", "configs/fool.toml"])
    }
}

#[allow(dead_code)]
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

#[allow(dead_code)]
impl Outcome {
    pub fn expect_success(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.err);
        self
    }

    /// Asserts an error with this exit code and one message that has all these words, and no panic.
    pub fn expect_error(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.err.matches("error: ").count(), 1, "{}", self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        for word in words {
            assert!(self.err.contains(word), "no \"{word}\" in: {}", self.err);
        }
        self
    }
}
