//! The kernels as an operation of Burn's flex backend, with its gradients.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::ops::{ActivationOps, ModuleOps};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;

use super::shape::Shape;
use crate::flex::{Primitive, contiguous, dims, tensor, values, written_by_part};

/// What the backend is extended by.
#[backend_extension(Flex, Autodiff)]
pub(super) trait Convolution: Backend {
    /// The convolution of images `[N, C, H, W]` with weights `[out, C, kh, kw]` and a bias `[out]`, rectified if asked for.
    fn convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shape: Shape,
        rectify: bool,
    ) -> FloatTensor<Self>;
}

/// The convolution of images `[N, C, H, W]` on the flex backend.
pub(super) fn convolve(conv: &Conv2d, x: Tensor<4>, rectify: bool) -> Tensor<4> {
    let [_, channels, h, w] = x.dims();
    let [output, input, kh, kw] = conv.weight.dims();
    assert_eq!(channels, input, "a convolution of other channels");
    let padding = match conv.padding {
        PaddingConfig2d::Explicit(top, left, bottom, right) => [(top, bottom), (left, right)],
        PaddingConfig2d::Valid => [(0, 0); 2],
        PaddingConfig2d::Same => unreachable!("layers are made with explicit margins"),
    };
    let shape = Shape {
        channels: [input, output],
        input: [h, w],
        kernel: [kh, kw],
        stride: conv.stride,
        padding,
        dilation: conv.dilation,
    };
    let bias = conv.bias.as_ref().map_or_else(|| Tensor::zeros([output], &x.device()), |bias| bias.val());
    let [x, weight] = [x, conv.weight.val()].map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::convolution(x, weight, bias.into_dispatch(), shape, rectify))
}

impl Convolution for Flex {
    fn convolution(
        x: Primitive,
        weight: Primitive,
        bias: Primitive,
        shape: Shape,
        rectify: bool,
    ) -> Primitive {
        let [weight, bias] = [&weight, &bias].map(contiguous);
        let [n, ..] = dims(&x);
        let [h, w] = shape.output();
        // SAFETY: `forward` writes every value.
        unsafe {
            written_by_part(&x, n, [n, shape.channels[1], h, w], |_, x, out| {
                shape.forward(x, values(&weight), values(&bias), rectify, out);
            })
        }
    }
}

/// What the gradients need of the forward pass.
#[derive(Clone, Debug)]
struct State {
    /// The images, where the weights have gradients.
    x: Option<Primitive>,
    weight: Primitive,
    /// The output, where it was rectified.
    rectified: Option<Primitive>,
    shape: Shape,
}

impl State {
    /// The gradient of the images.
    fn of_images(&self, gradient: &Primitive) -> Primitive {
        let [n, ..] = dims(gradient);
        let [h, w] = self.shape.input;
        // SAFETY: `input_gradient` writes every value.
        unsafe {
            written_by_part(gradient, n, [n, self.shape.channels[0], h, w], |i, gradient, out| {
                let rectified = self
                    .rectified
                    .as_ref()
                    .map(|output| &values(output)[i * gradient.len()..][..gradient.len()]);
                self.shape.input_gradient(values(&self.weight), gradient, rectified, out);
            })
        }
    }

    /// The gradient of the weights, from that of the output before it was rectified.
    fn of_weights(&self, gradient: &Primitive) -> Primitive {
        let x = self.x.as_ref().expect("kept where weights have gradients");
        let [n, ..] = dims(gradient);
        let [input, output] = self.shape.channels;
        let [kh, kw] = self.shape.kernel;
        let mut sum = vec![0.0; output * input * kh * kw];
        let [images, gradients] = [values(x), values(gradient)].map(|all| all.chunks(all.len() / n));
        for (x, gradient) in images.zip(gradients) {
            self.shape.add_weight_gradient(x, gradient, &mut sum);
        }
        tensor(sum, [output, input, kh, kw], gradient)
    }
}

/// The gradients of images, weights and bias.
#[derive(Debug)]
struct Gradient;

impl Backward<Flex, 3> for Gradient {
    type State = State;

    fn backward(self, ops: Ops<State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = contiguous(&gradients.consume::<Flex>(&ops.node));
        let state = ops.state;
        let [x, weight, bias] = ops.parents;
        if let Some(x) = x {
            gradients.register::<Flex>(x.id, state.of_images(&gradient));
        }
        if weight.is_none() && bias.is_none() {
            return;
        }
        let gradient = match &state.rectified {
            Some(output) => Flex::relu_backward(output.clone(), gradient),
            None => gradient,
        };
        if let Some(weight) = weight {
            gradients.register::<Flex>(weight.id, state.of_weights(&gradient));
        }
        if let Some(bias) = bias {
            let [_, channels] = state.shape.channels;
            let zeros = tensor(vec![0.0; channels], [channels], &gradient);
            gradients
                .register::<Flex>(bias.id, Flex::conv2d_bias_backward(gradient.clone(), zeros, gradient));
        }
    }
}

impl<C: CheckpointStrategy> Convolution for Autodiff<Flex, C> {
    fn convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shape: Shape,
        rectify: bool,
    ) -> FloatTensor<Self> {
        let learned = weight.is_tracked();
        let [(x, image_node), (weight, weight_node), (bias, bias_node)] =
            [x, weight, bias].map(|tensor| tensor.into_parts());
        let [x, weight] = [&x, &weight].map(contiguous);
        let output = Flex::convolution(x.clone(), weight.clone(), bias, shape.clone(), rectify);
        match Gradient.prepare::<C>([image_node, weight_node, bias_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let rectified = rectify.then(|| output.clone());
                prep.finish(State { x: learned.then_some(x), weight, rectified, shape }, output)
            }
            OpsKind::UnTracked(prep) => prep.finish(output),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Param;
    use burn::tensor::{Device, Distribution};
    use proptest::prelude::*;

    use super::*;

    /// Sizes of a convolution that fit together.
    fn sizes() -> impl Strategy<Value = (usize, Shape)> {
        let axis = || (1usize..5, 1usize..6, 1usize..3, (0usize..4, 0usize..4), 0usize..30);
        (1usize..4, [1usize..11, 1usize..21], axis(), axis()).prop_map(|(n, channels, rows, columns)| {
            let [a, b] = [rows, columns].map(|(kernel, stride, dilation, padding, extra)| {
                let reach = dilation * (kernel - 1) + 1;
                // At least one place, and not wholly in the margin.
                let input = reach.saturating_sub(padding.0 + padding.1).max(1) + extra;
                (kernel, stride, dilation, padding, input)
            });
            let shape = Shape {
                channels,
                input: [a.4, b.4],
                kernel: [a.0, b.0],
                stride: [a.1, b.1],
                padding: [a.3, b.3],
                dilation: [a.2, b.2],
            };
            (n, shape)
        })
    }

    fn conv(shape: &Shape, bias: bool, device: &Device) -> Conv2d {
        let [input, output] = shape.channels;
        let [(top, bottom), (left, right)] = shape.padding;
        let random = Distribution::Normal(0.0, 1.0);
        let weight = Tensor::<4>::random([output, input, shape.kernel[0], shape.kernel[1]], random, device);
        Conv2d {
            weight: Param::from_tensor(weight),
            bias: bias.then(|| Param::from_tensor(Tensor::<1>::random([output], random, device))),
            stride: shape.stride,
            kernel_size: shape.kernel,
            dilation: shape.dilation,
            groups: 1,
            padding: PaddingConfig2d::Explicit(top, left, bottom, right),
        }
    }

    fn close(name: &str, ours: Tensor<4>, burns: Tensor<4>) -> Result<(), TestCaseError> {
        prop_assert_eq!(ours.dims(), burns.dims());
        let scale = burns.clone().abs().max().into_scalar::<f32>().max(1.0);
        let difference = (ours - burns).abs().max().into_scalar::<f32>();
        prop_assert!(difference <= 1e-5 * scale, "{} differs by {} of {}", name, difference, scale);
        Ok(())
    }

    proptest! {
        /// Output and all gradients are those of Burn's own convolution and ReLU, on one core and on two.
        #[test]
        fn kernels_agree_with_burns((n, shape) in sizes(), bias: bool, rectify: bool, cores in 1usize..3) {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(cores).build().unwrap();
            pool.install(|| -> Result<(), TestCaseError> {
                let device = Device::flex().autodiff();
                let conv = conv(&shape, bias, &device);
                let [h, w] = shape.input;
                let x = Tensor::<4>::random([n, shape.channels[0], h, w], Distribution::Normal(0.0, 1.0), &device);
                let mut results = [true, false].map(|ours| {
                    let x = x.clone().require_grad();
                    let y = if ours {
                        convolve(&conv, x.clone(), rectify)
                    } else {
                        let y = conv.forward(x.clone());
                        if rectify { burn::tensor::activation::relu(y) } else { y }
                    };
                    // A gradient that differs from place to place, and of both signs.
                    let gradients = (y.clone() * (y.clone() * 0.3).cos()).sum().backward();
                    let weight = conv.weight.val().grad(&gradients).unwrap();
                    let bias = conv.bias.as_ref().map(|b| b.val().grad(&gradients).unwrap().reshape([1, 1, 1, -1]));
                    (y.without_autodiff(), x.grad(&gradients).unwrap(), weight, bias)
                }).into_iter();
                let (ours, burns) = (results.next().unwrap(), results.next().unwrap());
                close("output", ours.0, burns.0)?;
                close("gradient of images", ours.1, burns.1)?;
                close("gradient of weights", ours.2, burns.2)?;
                if let (Some(ours), Some(burns)) = (ours.3, burns.3) {
                    close("gradient of the bias", ours, burns)?;
                }
                Ok(())
            })?;
        }
    }

    /// Large enough for several tasks and for whole tiles of every height.
    #[test]
    fn large_convolutions_agree_with_burns() {
        for (channels, side, kernel, stride, padding) in
            [([3, 96], 64, 7, 2, 0), ([64, 256], 27, 3, 1, 1), ([512, 100], 13, 1, 1, 0)]
        {
            let shape = Shape {
                channels,
                input: [side; 2],
                kernel: [kernel; 2],
                stride: [stride; 2],
                padding: [(padding, padding); 2],
                dilation: [1, 1],
            };
            let device = Device::flex().autodiff();
            let conv = conv(&shape, true, &device);
            let x = Tensor::<4>::random([1, channels[0], side, side], Distribution::Default, &device)
                .require_grad();
            let [ours, burns] = [convolve(&conv, x.clone(), false), conv.forward(x.clone())].map(|y| {
                let gradients = y.clone().powi_scalar(2).sum().backward();
                (y.without_autodiff(), x.grad(&gradients).unwrap())
            });
            close("output", ours.0, burns.0).unwrap();
            close("gradient", ours.1, burns.1).unwrap();
        }
    }
}
