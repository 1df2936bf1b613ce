//! An objective of one's own: what makes one unit fire and leaves another alone, and what a whole layer answers to most.
//!
//!     cargo run --example own_objective

use burn::tensor::{Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use trompe::data::Preprocessing;
use trompe::error::Result;
use trompe::network::{Network, zoo};
use trompe::progress::Progress;
use trompe::visualize::{LayerMap, Objective, Settings, Terms, UnitObjective, maximize};

/// A layer's answer as DeepDream takes it: the mean of the squares of all its values (Mordvintsev et al., 2015).
struct DeepDream {
    layer: String,
}

impl Objective for DeepDream {
    fn layers(&self) -> Vec<String> {
        vec![self.layer.clone()]
    }

    fn value(&self, maps: &[LayerMap]) -> Tensor<1> {
        maps[0].values.clone().powi_scalar(2).mean()
    }
}

fn main() -> Result<()> {
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let network = Network::new(zoo::small_cnn(10), rng, &Device::default())?.fold_batch_norm();
    let preprocessing = Preprocessing::default();
    let settings = Settings { steps: 64, ..Settings::new(64) };
    let unit = |text: &str| UnitObjective::of(text.parse().expect("a unit is layer:channel"));
    let apart = Terms::from(unit("bn3:1")) - Terms::from(unit("bn3:2")) * 0.5;
    let dream = Terms::from(DeepDream { layer: "relu3".into() });
    for (name, objective) in [("one without the other", apart), ("a layer", dream)] {
        let (trajectory, fault) = maximize(
            &network,
            &preprocessing,
            &settings,
            &objective,
            name,
            &[1, 16, 64],
            1,
            &Progress::hidden(),
        )?;
        for snapshot in &trajectory {
            println!("{name}: {:.4} after {} steps", snapshot.activation, snapshot.step);
        }
        assert_eq!(fault, None);
    }
    Ok(())
}
