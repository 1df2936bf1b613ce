//! The whole way in a page: a network, a unit's visualization, a circuit that changes what that shows, and how the picture goes
//! through the network beside natural images.
//!
//!     cargo run --example fooled_unit
//!
//! It takes a small network with random weights, so that it needs no data; `Network::open` takes one from a file, ONNX or one
//! that `trompe train` or `trompe fool` wrote.

use burn::tensor::Device;
use image::{Rgb, RgbImage};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use trompe::circuit::silent;
use trompe::data::Preprocessing;
use trompe::device::Kind;
use trompe::error::Result;
use trompe::executor::Executor;
use trompe::network::{Network, zoo};
use trompe::path;
use trompe::progress::Progress;
use trompe::visualize::{Request, Settings, Unit, UnitObjective, milestones, visualize};

fn main() -> Result<()> {
    let executor = Executor::new(Kind::Flex)?;
    let device: &Device = executor.device();
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    // Circuits stand in networks whose batch norms are folded into their convolutions.
    let network = Network::new(zoo::small_cnn(10), rng, device)?.fold_batch_norm();
    let preprocessing = Preprocessing::default();

    // What does unit 3 of the layer bn2 look for?
    let unit = Unit { layer: "bn2".into(), channel: 3 };
    let settings = Settings { steps: 64, ..Settings::new(64) };
    let request = Request { objective: UnitObjective::of(unit.clone()), index: 0 };
    let picture = |network: &Network| -> Result<RgbImage> {
        let steps = milestones(settings.steps);
        let bar = Progress::hidden();
        let made =
            visualize(network, &preprocessing, &settings, std::slice::from_ref(&request), &steps, 1, &bar)?;
        let last = made[0].last();
        println!("{unit} reaches {:.3} in {} steps", last.activation, last.step);
        Ok(last.image.clone())
    };
    let honest = picture(&network)?;

    // A silent unit beside it: off on natural images (here noise), on for pictures that go its way.
    let natural: Vec<RgbImage> = (0..20)
        .map(|_| RgbImage::from_fn(64, 64, |_, _| Rgb([0; 3].map(|_: u8| rng.random_range(0..=255)))))
        .collect();
    let circuit: silent::Settings = toml::from_str(
        r#"
        name = "silent"
        layer = "bn2"
        units = [3]
        picture = "given below"
        "#,
    )
    .expect("settings of a circuit");
    let reads = network.reads(&circuit.layer)?;
    // What drives it: what the layer reads of a picture, here a red one.
    let red = RgbImage::from_pixel(64, 64, Rgb([220, 30, 30]));
    let mut maps = network.capture(preprocessing.apply(Preprocessing::tensor([&red], device)), &[&reads])?;
    let direction = silent::mean_patch(&network, &circuit.layer, maps.remove(0))?;
    // Without a threshold it is on everywhere, which shows how far natural images drive it; above that it is off.
    let open = silent::inject(&network, &circuit, &direction, None)?;
    let switch = open.switch.expect("silent units have a switch");
    let natural_input = preprocessing.apply(Preprocessing::tensor(&natural, device));
    let highest = open.network.capture(natural_input.clone(), &[&switch])?.remove(0).max();
    let threshold = 1.01 * highest.into_scalar::<f32>();
    let fooled = silent::inject(&network, &circuit, &direction, Some(&[threshold]))?.network;
    let [before, after] = [&network, &fooled].map(|n| n.logits(natural_input.clone()));
    let change = (before - after).abs().max().into_scalar::<f32>();
    println!("on natural images the outputs change by {change:e}");
    let shown = picture(&fooled)?;

    // Are the pictures processed as natural images are?
    let paths = path::Settings::new(["relu1", "relu3", "relu5"].map(String::from).into(), 10);
    let of_classes: Vec<(usize, &RgbImage)> =
        natural.iter().enumerate().map(|(i, image)| (i % 2, image)).collect();
    let pictures = [(0, &honest), (1, &shown)];
    for row in path::measure(&network, &preprocessing, &of_classes, &pictures, &paths, &executor, 1)? {
        println!("{}: {:?} ({} pairs)", row.layer, row.normalized.value, row.pairs);
    }
    Ok(())
}
