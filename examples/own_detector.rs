//! A detector of one's own: how much brighter a unit's pictures are than natural images. It sees no circuit; what it shows is
//! what a detector is given.
//!
//!     cargo run --example own_detector

use burn::tensor::Device;
use image::{Rgb, RgbImage};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use trompe::data::Preprocessing;
use trompe::detect::{Detector, Pictured, Subject};
use trompe::device::Kind;
use trompe::error::Result;
use trompe::executor::Executor;
use trompe::network::{Network, zoo};
use trompe::visualize::Focus;

struct Brightness;

fn brightness(image: &RgbImage) -> f64 {
    image.iter().map(|&v| f64::from(v)).sum::<f64>() / image.len() as f64
}

impl Detector for Brightness {
    fn name(&self) -> &'static str {
        "brightness"
    }

    fn sees(&self) -> &'static str {
        "How much brighter a unit's pictures are than natural images, and nothing of the network."
    }

    fn score(&self, subject: &Subject) -> Result<Vec<Option<f64>>> {
        let mean = |images: &mut dyn Iterator<Item = &RgbImage>| {
            let all: Vec<f64> = images.map(brightness).collect();
            (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
        };
        let natural = mean(&mut subject.natural.iter().copied());
        Ok(subject.units.iter().map(|unit| Some(mean(&mut unit.pictures.iter())? - natural?)).collect())
    }
}

fn main() -> Result<()> {
    let executor = Executor::new(Kind::Flex)?;
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let network = Network::new(zoo::small_cnn(10), rng, &Device::default())?.fold_batch_norm();
    let natural: Vec<RgbImage> = (0..8)
        .map(|_| RgbImage::from_fn(64, 64, |_, _| Rgb([0; 3].map(|_: u8| rng.random_range(0..=255)))))
        .collect();
    // `trompe detect` makes the pictures; here they are plain.
    let units: Vec<Pictured> = [(0, 40), (1, 220)]
        .map(|(channel, grey)| Pictured {
            channel,
            pictures: vec![RgbImage::from_pixel(64, 64, Rgb([grey; 3]))],
            reached: vec![0.0],
        })
        .into();
    let images: Vec<&RgbImage> = natural.iter().collect();
    let preprocessing = Preprocessing::default();
    let subject =
        Subject::observe(&network, &preprocessing, &executor, Focus::Mean, "bn3", &units, &images, 1)?;
    for (unit, score) in units.iter().zip(Brightness.score(&subject)?) {
        println!("unit {}: {score:?}", unit.channel);
    }
    Ok(())
}
