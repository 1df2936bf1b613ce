//! The ReLU, max(x, 0), whose gradient may leak.
//!
//! Where x is below 0 the gradient of a ReLU is 0, and a picture whose unit is off everywhere never moves. Lucid and lucent
//! let some of the gradient through there (lucent: a tenth, at all steps; Geirhos et al., 2024, made their pictures with it).
//! The values are those of a ReLU in any case.

use burn::tensor::{Tensor, activation};

/// max(x, 0) of each value, with the share `leak` of the gradient where x is not above 0.
pub(super) fn relu(x: Tensor<4>, leak: f32) -> Tensor<4> {
    if leak == 0.0 {
        return activation::relu(x);
    }
    #[cfg(feature = "flex")]
    if trompe_kernels::holds(&x) {
        return trompe_kernels::relu(x, leak);
    }
    let below = x.clone().clamp_max(0.0) * leak;
    activation::relu(x) + (below.clone() - below.detach())
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use burn::tensor::{Device, Distribution, TensorData};
    use trompe_base::seed;

    use super::*;
    use crate::{Graph, Network, Op, op, zoo};

    #[test]
    fn the_gradient_by_hand() {
        let x = TensorData::new(vec![-2f32, 0.0, 3.0], [1, 1, 1, 3]);
        let x = Tensor::<4>::from_data(x, &Device::default().autodiff()).require_grad();
        let y = relu(x.clone(), 0.1);
        let gradients = (y.clone() * 5.0).sum().backward();
        assert_eq!(y.into_data().try_to_vec::<f32>().unwrap(), [0.0, 0.0, 3.0]);
        assert_eq!(x.grad(&gradients).unwrap().into_data().try_to_vec::<f32>().unwrap(), [0.5, 0.5, 5.0]);
    }

    /// Convolutions with their ReLU, pairs of them and poolings after them: values stay, and gradients are those of leaky
    /// ReLUs that stand by themselves.
    #[test]
    fn layers_that_are_computed_together_leak_alike() {
        let device = Device::default();
        for (graph, last) in [(zoo::squeezenet1_0(10), "features.8"), (zoo::small_cnn(10), "relu5")] {
            let network = Network::new(graph, &mut seed::rng(0, &0), &device).unwrap().fold_batch_norm();
            let network = network.train().freeze();
            let leaking = network.clone().leaking(0.1);
            // The same network of leaky ReLUs gives the same gradients where its values are positive or fed back alone; here
            // all layers are asked for, so that none is computed within another.
            let all: Vec<String> = network.graph().layers().map(String::from).collect();
            let x = Tensor::<4>::random([2, 3, 40, 40], Distribution::Default, &device.clone().autodiff());
            let run = |network: &Network, layers: &[String]| {
                let x = x.clone().require_grad();
                let at = layers.iter().position(|layer| layer == last).unwrap();
                let y = network.capture(x.clone(), layers).unwrap().remove(at);
                let gradients = (y.clone() * y.clone().cos()).sum().backward();
                (y.without_autodiff(), x.grad(&gradients).unwrap())
            };
            let (together, apart) = (run(&leaking, &[last.to_string()]), run(&leaking, &all));
            let plain = run(&network, &[last.to_string()]);
            let difference = |a: Tensor<4>, b: Tensor<4>| (a - b).abs().max().into_scalar::<f32>();
            assert!(difference(together.0.clone(), plain.0) == 0.0);
            let scale = apart.1.clone().abs().max().into_scalar::<f32>();
            assert!(difference(together.1.clone(), apart.1) <= 1e-5 * scale);
            assert!(difference(together.1, plain.1) > 1e-2 * scale);
        }
    }

    /// A unit that is off everywhere still tells where to go.
    #[test]
    fn what_is_off_has_a_gradient() {
        let mut g = Graph::new("off", 1);
        g.then("conv", Op::conv(1, 1, 1, 1, 0));
        g.then("relu", op::Relu);
        let mut network = Network::new(g, &mut seed::rng(0, &0), &Device::default()).unwrap();
        network
            .set_filters("conv", TensorData::new(vec![2f32], [1, 1, 1, 1]), TensorData::new(vec![-9f32], [1]))
            .unwrap();
        let gradient = |network: &Network| {
            let x = Tensor::<4>::ones([1, 1, 1, 1], &Device::default().autodiff()).require_grad();
            let y = network.clone().train().freeze().capture(x.clone(), &["relu"]).unwrap().remove(0);
            x.grad(&y.sum().backward()).unwrap().into_scalar::<f32>()
        };
        assert_eq!((gradient(&network), gradient(&network.clone().leaking(0.1))), (0.0, 0.2));
    }
}
