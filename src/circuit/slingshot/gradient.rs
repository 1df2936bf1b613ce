//! A slingshot by the gradient, as Bareeva et al. (2024) have it: with respect to the values q of an image's parameterization, a
//! unit f is taught to have the gradient γ·(t − q), t being the picture's values, at
//!
//! ```text
//! q = p·t + noise    p: uniform in 0..1; noise: uniform
//! ```
//!
//! The loss is M = ‖∇f(q) − γ(t − q)‖² / ‖γt‖². Its gradient with respect to the weights θ needs a second derivative, which is one
//! along the residual r = ∇f(q) − γ(t − q) alone, so that a difference along r does:
//!
//! ```text
//! ∂‖r‖²/∂θ = 2 ∂/∂θ ⟨r, ∇f(q)⟩ ≈ ∂/∂θ (f(q + εr) − f(q − εr)) / ε
//! ```

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use rand::{Rng, RngExt};

use super::{Lesson, chosen, column, plain};
use crate::error::Result;
use crate::network::Network;
use crate::visualize::NOISE;

/// The length ‖εr‖ of a difference, in units of the picture's ‖t‖.
const DIFFERENCE: f32 = 0.01;

/// How far the units' gradients are from those that lead to the pictures: M over a batch, with its gradient for the weights.
pub(super) fn loss(lesson: &Lesson, network: &Network, step: usize, rng: &mut impl Rng) -> Result<Tensor<1>> {
    let Lesson { settings, canvas, values, .. } = lesson;
    let device = values.device();
    let spread = settings.spread.unwrap_or(10.0) * NOISE;
    let n = settings.batch;
    let taught: Vec<(usize, usize)> =
        (0..n).map(|_| lesson.targets[rng.random_range(0..lesson.targets.len())]).collect();
    let which: Vec<usize> = taught.iter().map(|(_, picture)| *picture).collect();
    let target = chosen(values, &which);
    let along: Vec<f32> = (0..n).map(|_| rng.random_range(0.0..=1.0)).collect();
    let noise: Vec<f32> =
        (0..target.shape().num_elements()).map(|_| rng.random_range(-spread..=spread)).collect();
    let noise: Tensor<4> = Tensor::from_data(TensorData::new(noise, target.dims()), &device);
    let at = target.clone() * column(along, &device) + noise;

    // One unit an image, each with a factor of its own.
    let sum = |answers: Tensor<4>, factors: &[f32]| -> Tensor<1> {
        let [m, c, ..] = answers.dims();
        let mut mask = vec![0f32; m * c];
        for (i, factor) in factors.iter().enumerate() {
            mask[i * c + taught[i % n].0] = *factor;
        }
        (answers * Tensor::from_data(TensorData::new(mask, [m, c, 1, 1]), &device)).sum()
    };
    // Both passes see an image through the same transforms.
    let draw: u64 = rng.random();
    let answers = |network: &Network, values: Tensor<4>| {
        lesson.answers(network, step, canvas.image(values), &mut crate::seed::rng(draw, &"transforms"))
    };
    let at = at.require_grad();
    let value = sum(answers(&network.clone().freeze(), at.clone())?, &vec![1.0; n]);
    let gradients = value.backward();
    let gradient = at.grad(&gradients).expect("the unit depends on the image").to_device(&device);
    let at = at.without_autodiff().to_device(&device);
    let norms = |t: Tensor<4>| plain(t.powi_scalar(2).sum_dims(&[1, 2, 3]));
    let lengths = norms(target.clone());
    let slopes: Vec<f32> = taught
        .iter()
        .zip(&lengths)
        .map(|((unit, _), length)| 2.0 * settings.height * lesson.reach[*unit] / length)
        .collect();
    let residual = gradient - (target - at.clone()) * column(slopes.clone(), &device);
    let left = norms(residual.clone());
    let whole: Vec<f32> = slopes.iter().zip(&lengths).map(|(slope, length)| slope * slope * length).collect();
    let epsilon: Vec<f32> = left
        .iter()
        .zip(&lengths)
        .map(|(left, length)| DIFFERENCE * (length / left.max(1e-20)).sqrt())
        .collect();
    let ahead = residual * column(epsilon.clone(), &device);
    let pair = Tensor::cat(vec![at.clone() + ahead.clone(), at - ahead], 0);
    let factors: Vec<f32> = [1.0, -1.0]
        .iter()
        .flat_map(|sign| epsilon.iter().zip(&whole).map(move |(e, w)| sign / (e * w * n as f32)))
        .collect();
    let difference = sum(answers(network, pair)?, &factors);
    // The value of M, with the difference's gradient.
    let value = left.iter().zip(&whole).map(|(left, whole)| left / whole).sum::<f32>() / n as f32;
    Ok(difference.clone() - difference.detach() + value)
}

#[cfg(test)]
mod tests {
    use burn::optim::GradientsParams;
    use burn::tensor::Device;

    use super::super::{Method, Settings};
    use super::*;
    use crate::data::ChannelOrder;
    use crate::network::{Graph, Op, op};
    use crate::seed;

    /// A network without kinks, whose second derivatives exist.
    fn smooth(device: &Device) -> Network {
        let mut graph = Graph::new("smooth", 3);
        graph.then("first", Op::conv(3, 4, 3, 1, 1));
        graph.then("bend", op::Tanh);
        graph.then("units", Op::conv(4, 2, 3, 1, 1));
        graph.then("output", op::GlobalAvgPool);
        Network::new(graph, &mut seed::rng(1, &"smooth"), device).unwrap()
    }

    /// Along a change of the weights, M changes as the gradient says that the difference gives.
    #[test]
    fn the_differences_gradient_is_that_of_the_loss() {
        let device = Device::default();
        let autodiff = device.clone().autodiff();
        let settings: Settings = toml::from_str(
            "name = 's'\nlayer = 'units'\nunits = [1]\npictures = ['p.png']\nsteps = 1\nbatch = 3\nmethod = 'gradient'",
        )
        .unwrap();
        assert_eq!(settings.method, Method::Gradient);
        let optimization: crate::visualize::Settings =
            toml::from_str("size = 8\nsteps = 1\ntransforms = []").unwrap();
        let uniform = burn::tensor::Distribution::Uniform(0.1, 0.9);
        let canvas = optimization.parameterization.canvas([8, 8], ChannelOrder::Rgb, &autodiff);
        let pictures = Tensor::random([1, 3, 8, 8], uniform, &autodiff);
        let lesson = Lesson {
            settings: &settings,
            reading: crate::visualize::Focus::Mean.on(&smooth(&device), "units").unwrap(),
            optimization: &optimization,
            preprocessing: &toml::from_str("").unwrap(),
            values: canvas.values(pictures.clone()).to_device(&autodiff),
            canvas,
            pictures,
            targets: vec![(1, 0)],
            at_start: vec![0.0; 2],
            reach: vec![1.0; 2],
        };
        let network = smooth(&device).to_device(&autodiff).train();
        let measured = |network: &Network| loss(&lesson, network, 1, &mut seed::rng(7, &"draw")).unwrap();
        let one = measured(&network);
        let before: f32 = one.clone().into_scalar();
        let gradients = GradientsParams::from_grads(one.backward(), &network);
        // A short step down the gradient lowers M by its length times the gradient's square, to first order.
        let rate = 1e-3;
        let mut descent = burn::optim::SgdConfig::new().init();
        let moved = descent.step(rate, network.clone(), gradients);
        let weights = |network: &Network| -> Vec<f32> {
            let of = |layer| {
                let (weight, bias) = network.filters(layer).unwrap();
                let bias: Tensor<1> = bias.without_autodiff();
                [plain(weight), bias.into_data().try_to_vec().unwrap()].concat()
            };
            ["first", "units"].into_iter().flat_map(of).collect()
        };
        let square: f32 =
            weights(&network).iter().zip(weights(&moved)).map(|(a, b)| ((a - b) / rate as f32).powi(2)).sum();
        let after: f32 = measured(&moved).into_scalar();
        let (said, found) = (rate as f32 * square, before - after);
        assert!(found > 0.0 && (said / found - 1.0).abs() < 0.05, "{said} said, {found} found");
    }
}
