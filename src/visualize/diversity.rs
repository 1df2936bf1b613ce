//! Visualizations of one unit that differ: a penalty on how alike they are to the network (Olah et al., 2017).

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::Request;

/// The diversity term. Images are alike where the Gram matrices of a layer's maps are: which channels go together,
/// wherever in the image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Diversity {
    /// How much being alike costs, in units of the activation. At 1, images that are all alike are worth as little as
    /// images that do not drive the unit; above 0.5, giving up on one of two that are all alike is a gain.
    pub weight: f64,
    /// The layer whose maps are compared; by default the unit's.
    pub layer: Option<String>,
}

/// The term for a batch: which images are compared with which.
pub(super) struct Among {
    weight: f64,
    /// 1 / (images of the unit − 1) for every pair of images of one unit, else 0, `[N, N]`.
    pairs: Vec<f32>,
    images: usize,
}

impl Diversity {
    /// Refuses what can't be optimized, naming the key.
    ///
    /// # Errors
    /// A message that starts with the key.
    pub fn check(&self) -> Result<(), String> {
        match self.weight.is_finite() && self.weight >= 0.0 {
            true => Ok(()),
            false => Err(format!("diversity.weight is {}; it must be 0 or more", self.weight)),
        }
    }

    pub(super) fn among(&self, requests: &[Request]) -> Among {
        let unit = |i: usize| &requests[i].objective.unit;
        let images = requests.len();
        let pairs = (0..images * images)
            .map(|at| (at / images, at % images))
            .map(|(i, j)| match i != j && unit(i) == unit(j) {
                true => 1.0 / ((0..images).filter(|&k| unit(k) == unit(i)).count() - 1) as f32,
                false => 0.0,
            })
            .collect();
        Among { weight: self.weight, pairs, images }
    }
}

impl Among {
    /// What maps `[N, C, H, W]` cost, where `loss` is what the batch costs without.
    pub(super) fn penalty(&self, maps: Tensor<4>, loss: Tensor<1>) -> Tensor<1> {
        let n = self.images;
        let pairs = TensorData::new(self.pairs.clone(), [n, n]);
        let pairs: Tensor<2> = Tensor::from_data(pairs, &maps.device());
        // In units of the mean activation, which differs by orders of magnitude between layers.
        let scale = loss.detach().abs() / n as f64;
        (alike(maps) * pairs).sum() * scale * self.weight
    }
}

/// How alike each two images are to the network, `[N, N]`: the cosine of the Gram matrices of their maps
/// `[N, C, H, W]`.
pub fn alike(maps: Tensor<4>) -> Tensor<2> {
    let [n, c, h, w] = maps.dims();
    let flat: Tensor<3> = maps.reshape([n, c, h * w]);
    let grams: Tensor<2> = flat.clone().matmul(flat.transpose()).reshape([n, c * c]);
    let norm = (grams.clone().powi_scalar(2).sum_dim(1) + 1e-10).sqrt();
    let unit = grams / norm;
    unit.clone().matmul(unit.transpose())
}

/// The mean over pairs of different images of what [`alike`] gives; none for fewer than two.
pub fn mean_pair(alike: Tensor<2>) -> Option<f64> {
    let [n, _] = alike.dims();
    let values: Vec<f32> = alike.into_data().try_to_vec().expect("similarities are 32-bit floats");
    let pairs = values.iter().enumerate().filter(|(at, _)| at / n != at % n);
    (n > 1).then(|| pairs.map(|(_, v)| f64::from(*v)).sum::<f64>() / (n * (n - 1)) as f64)
}

#[cfg(test)]
mod tests {
    use crate::progress::Progress;
    use burn::tensor::Device;

    use super::*;
    use crate::data::Preprocessing;
    use crate::network::{Network, zoo};
    use crate::seed;
    use crate::visualize::{Settings, Unit, UnitObjective, visualize};

    /// Gram matrices of 2x2 maps worked by hand.
    #[test]
    fn alike_is_the_cosine_of_gram_matrices() {
        // Two channels, two places. Image 0 and 1 have the same Gram matrix with their places exchanged; in image 2
        // the channels never go together.
        let values = vec![1f32, 0., 1., 0., /**/ 0., 1., 0., 1., /**/ 1., 0., 0., 1.];
        let maps: Tensor<4> = Tensor::from_data(TensorData::new(values, [3, 2, 1, 2]), &Device::default());
        let got: Vec<f32> = alike(maps.clone()).into_data().try_to_vec().unwrap();
        // [1 1; 1 1] and the identity: 2 / (2 · √2).
        let half = 0.5f32.sqrt();
        for (a, b) in got.iter().zip([1., 1., half, 1., 1., half, half, half, 1.]) {
            assert!((a - b).abs() < 1e-5, "{got:?}");
        }
        let mean = mean_pair(alike(maps)).unwrap();
        assert!((mean - (1.0 + 2.0 * f64::from(half)) / 3.0).abs() < 1e-5);
    }

    #[test]
    fn the_term_makes_visualizations_of_a_unit_differ() {
        let device = Device::default();
        let network = Network::new(zoo::small_cnn(10), &mut seed::rng(3, &0), &device).unwrap();
        let network = network.fold_batch_norm();
        let pre: Preprocessing = toml::from_str("").unwrap();
        let unit = Unit { layer: "bn3".into(), channel: 2 };
        let objective = UnitObjective { unit, focus: Default::default(), direction: Default::default() };
        let requests: Vec<Request> =
            (0..3).map(|index| Request { objective: objective.clone(), index }).collect();
        let similarity = |diversity: Option<Diversity>| {
            let settings = Settings { steps: 40, transforms: vec![], diversity, ..Settings::new(32) };
            let bar = Progress::hidden();
            let made = visualize(&network, &pre, &settings, &requests, &[40], 0, &bar).unwrap();
            let images: Vec<_> = made.iter().map(|v| v.image()).collect();
            let maps = network.capture(pre.apply(Preprocessing::tensor(images, &device)), &["bn3"]).unwrap();
            mean_pair(alike(maps[0].clone())).unwrap()
        };
        let plain = similarity(None);
        let diverse = similarity(Some(Diversity { weight: 50.0, layer: None }));
        assert!(diverse < plain - 0.005, "{diverse} with the term, {plain} without");
    }
}
