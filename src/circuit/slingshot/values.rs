//! A slingshot by values: between grey and the picture t a unit is taught to answer
//!
//! ```text
//! g(x) = c + a·(1 − ‖x − t‖² / ‖x₀ − t‖²)    c: its answer at the start x₀; a: how high the hill is
//! ```
//!
//! whose gradient with respect to the pixels points to t everywhere.

use burn::tensor::{Tensor, TensorData};
use rand::{Rng, RngExt};

use super::{Lesson, chosen, column, plain};
use crate::error::Result;
use crate::network::Network;
use crate::seed;

/// How far the units are from the hill at images on the way, in units of its height, squared.
pub(super) fn loss(lesson: &Lesson, network: &Network, step: usize, rng: &mut impl Rng) -> Result<Tensor<1>> {
    let Lesson { settings, canvas, pictures, .. } = lesson;
    let spread = settings.spread.unwrap_or(60.0);
    let [shown, ..] = pictures.dims();
    let device = pictures.device();
    let which: Vec<usize> = (0..settings.batch).map(|i| i % shown).collect();
    let along: Vec<f32> = (0..settings.batch).map(|_| rng.random_range(0.0..=1.0)).collect();
    let amplitude: Vec<f32> =
        (0..settings.batch).map(|_| rng.random_range(0.0..=1.0f32).powi(2) * spread).collect();
    let mut noise_rngs: Vec<_> = (0..settings.batch).map(|_| seed::rng(rng.random(), &"noise")).collect();
    let values = canvas.noise(&mut noise_rngs);
    let grey = canvas.image(values.clone() * 0.0);
    let noise = canvas.image(values * column(amplitude, &device)) - grey.clone();
    let picture = chosen(pictures, &which);
    let way = grey.clone() + (picture.clone() - grey.clone()) * column(along, &device);
    let x = (way + noise).clamp(0.0, 1.0);
    let square = |t: Tensor<4>| plain(t.powi_scalar(2).mean_dims(&[1, 2, 3]));
    let whole = square(picture.clone() - grey);
    let left = square(x.clone() - picture);
    let answers = lesson.answers(network, step, x, rng)?;
    let [n, c, ..] = answers.dims();
    let (mut wanted, mut mask) = (vec![0f32; n * c], vec![0f32; n * c]);
    for i in 0..n {
        for &(unit, _) in lesson.targets.iter().filter(|(_, shows)| *shows == which[i]) {
            let hill = settings.height * lesson.reach[unit];
            wanted[i * c + unit] = lesson.at_start[unit] + hill * (1.0 - left[i] / whole[i]);
            mask[i * c + unit] = 1.0 / hill;
        }
    }
    let taught = mask.iter().filter(|m| **m > 0.0).count().max(1) as f32;
    let tensor = |v: Vec<f32>| -> Tensor<4> { Tensor::from_data(TensorData::new(v, [n, c, 1, 1]), &device) };
    Ok(((answers - tensor(wanted)) * tensor(mask)).powi_scalar(2).sum() / taught)
}
