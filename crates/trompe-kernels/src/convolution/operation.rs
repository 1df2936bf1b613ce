//! The kernels as an operation of Burn's flex backend, with its gradients.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::ops::{ActivationOps, ModuleOps};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, DispatchTensor, Flex, backend_extension};
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;
use rayon::prelude::*;

use super::prepared::Prepared;
use super::shape::{self, Branch, Shape};
use super::sums;
use crate::execution::Execution;
use crate::rectify;
use crate::simd::InstructionSet;
use crate::tensor::{Primitive, contiguous, dims, tensor, values, with_gradient, written_by_part};

/// What the backend is extended by.
#[backend_extension(Flex, Autodiff)]
trait Convolution: Backend {
    /// The convolution of images `[N, C, H, W]` with weights `[out, C, kh, kw]` and a bias `[out]`, rectified if asked for,
    /// with a share of the gradient where it is 0.
    fn convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shape: Shape,
        prepared: Prepared,
        rectify: Option<f32>,
        execution: Execution,
    ) -> FloatTensor<Self>;

    /// Two convolutions of the same images, one's channels after the other's. Only the images have a gradient.
    #[allow(clippy::too_many_arguments, reason = "backends take tensors one by one")]
    fn pair(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        second_weight: FloatTensor<Self>,
        second_bias: FloatTensor<Self>,
        shapes: [Shape; 2],
        prepared: [Prepared; 2],
        rectify: Option<f32>,
        execution: Execution,
    ) -> FloatTensor<Self>;
}

/// The convolution of images `[N, C, H, W]` on the flex backend, of one group, and max(x, 0) of each value if it is to be
/// rectified, with this share of the gradient where it is 0. What is prepared must be of the same weights.
pub fn convolve(conv: &Conv2d, prepared: &Prepared, x: Tensor<4>, rectify: Option<f32>) -> Tensor<4> {
    convolve_with(conv, prepared, x, rectify, Execution::default())
}

pub(crate) fn convolve_with(
    conv: &Conv2d,
    prepared: &Prepared,
    x: Tensor<4>,
    rectify: Option<f32>,
    execution: Execution,
) -> Tensor<4> {
    let shape = shape(conv, &x);
    let [weight, bias] = parameters(conv);
    let (x, prepared) = (x.into_dispatch(), prepared.clone());
    Tensor::from_dispatch(Dispatch::convolution(x, weight, bias, shape, prepared, rectify, execution))
}

/// Two convolutions of images `[N, C, H, W]` on the flex backend that [`can_be_joined`], one's channels after the other's, and
/// max(x, 0) of each value if they are to be rectified. What is prepared must be of the same weights.
pub fn convolve_pair(convs: [(&Conv2d, &Prepared); 2], x: Tensor<4>, rectify: Option<f32>) -> Tensor<4> {
    convolve_pair_with(convs, x, rectify, Execution::default())
}

pub(crate) fn convolve_pair_with(
    convs: [(&Conv2d, &Prepared); 2],
    x: Tensor<4>,
    rectify: Option<f32>,
    execution: Execution,
) -> Tensor<4> {
    let shapes = Shape::joined(convs.map(|(conv, _)| shape(conv, &x)));
    let [[weight, bias], [second_weight, second_bias]] = convs.map(|(conv, _)| parameters(conv));
    let prepared = convs.map(|(_, prepared)| prepared.clone());
    let x = x.into_dispatch();
    let joined =
        Dispatch::pair(x, weight, bias, second_weight, second_bias, shapes, prepared, rectify, execution);
    Tensor::from_dispatch(joined)
}

/// Whether a convolution can be computed together with another one of the same images: it has no strides, one group, and
/// nothing is learned by it.
pub fn can_be_joined(conv: &Conv2d) -> bool {
    let learned =
        conv.weight.val().is_tracked() || conv.bias.as_ref().is_some_and(|bias| bias.val().is_tracked());
    conv.groups == 1 && conv.stride == [1, 1] && !learned
}

/// Weight and bias.
pub fn parameters(conv: &Conv2d) -> [DispatchTensor; 2] {
    let weight = conv.weight.val();
    let none = || Tensor::zeros([weight.dims()[0]], &weight.device());
    let bias = conv.bias.as_ref().map_or_else(none, |bias| bias.val());
    [weight.into_dispatch(), bias.into_dispatch()]
}

/// The margins before and after, by rows and columns.
pub fn margins(conv: &Conv2d) -> [(usize, usize); 2] {
    match conv.padding {
        PaddingConfig2d::Explicit(top, left, bottom, right) => [(top, bottom), (left, right)],
        PaddingConfig2d::Valid => [(0, 0); 2],
        PaddingConfig2d::Same => unreachable!("layers are made with explicit margins"),
    }
}

fn shape(conv: &Conv2d, x: &Tensor<4>) -> Shape {
    let [_, channels, h, w] = x.dims();
    let [output, input, kh, kw] = conv.weight.dims();
    assert_eq!(channels, input, "a convolution of other channels");
    let padding = margins(conv);
    Shape {
        channels: [input, output],
        input: [h, w],
        kernel: [kh, kw],
        stride: conv.stride,
        padding,
        unused: [(0, 0); 2],
        dilation: conv.dilation,
    }
}

/// Convolutions whose outputs are joined.
#[derive(Clone, Debug)]
struct Joined {
    shapes: Vec<Shape>,
    weights: Vec<Primitive>,
    biases: Vec<Primitive>,
    /// By convolution, what is prepared for weights that stay as they are, where tiles pay.
    prepared: Vec<Option<Prepared>>,
    execution: Execution,
}

impl Joined {
    fn new(
        shapes: Vec<Shape>,
        weights: Vec<Primitive>,
        biases: Vec<Primitive>,
        prepared: Vec<Prepared>,
        learned: bool,
        execution: Execution,
    ) -> Self {
        let by_tiles = !learned && shapes.iter().any(|shape| shape.pays_by_tiles(&execution.tiling));
        let prepared = prepared.into_iter().map(|prepared| by_tiles.then_some(prepared)).collect();
        Self { shapes, weights, biases, prepared, execution }
    }

    fn branches(&self) -> Vec<Branch<'_>> {
        let branch = |i: usize| Branch {
            shape: &self.shapes[i],
            weights: values(&self.weights[i]),
            bias: values(&self.biases[i]),
            prepared: self.prepared[i].as_ref(),
        };
        (0..self.shapes.len()).map(branch).collect()
    }

    fn forward(&self, x: &Primitive, rectify: bool) -> Primitive {
        let branches = self.branches();
        let [n, ..] = dims(x);
        let [h, w] = self.shapes[0].output();
        let channels = self.shapes.iter().map(|shape| shape.channels[1]).sum();
        // SAFETY: `forward` writes every value.
        unsafe {
            written_by_part(x, n, [n, channels, h, w], |_, x, out| {
                shape::forward(self.execution, &branches, x, rectify, out)
            })
        }
    }

    /// The gradient of the images, given the output where it was rectified.
    fn input_gradient(&self, gradient: &Primitive, rectified: Option<&Rectified>) -> Primitive {
        let branches = self.branches();
        let [n, ..] = dims(gradient);
        let Shape { channels: [channels, _], input: [h, w], .. } = self.shapes[0];
        // SAFETY: `input_gradient` writes every value.
        unsafe {
            written_by_part(gradient, n, [n, channels, h, w], |i, gradient, out| {
                let part = i * gradient.len()..(i + 1) * gradient.len();
                let rectified =
                    rectified.map(|r| sums::Rectified { values: &values(&r.output)[part], leak: r.leak });
                shape::input_gradient(self.execution, &branches, gradient, rectified, out);
            })
        }
    }
}

impl Convolution for Flex {
    fn convolution(
        x: Primitive,
        weight: Primitive,
        bias: Primitive,
        shape: Shape,
        prepared: Prepared,
        rectify: Option<f32>,
        execution: Execution,
    ) -> Primitive {
        let [weights, biases] = [&weight, &bias].map(|parameter| vec![contiguous(parameter)]);
        Joined::new(vec![shape], weights, biases, vec![prepared], false, execution)
            .forward(&x, rectify.is_some())
    }

    fn pair(
        x: Primitive,
        weight: Primitive,
        bias: Primitive,
        second_weight: Primitive,
        second_bias: Primitive,
        shapes: [Shape; 2],
        prepared: [Prepared; 2],
        rectify: Option<f32>,
        execution: Execution,
    ) -> Primitive {
        let [weights, biases] = [[&weight, &second_weight], [&bias, &second_bias]]
            .map(|parameters| parameters.map(contiguous).to_vec());
        Joined::new(shapes.to_vec(), weights, biases, prepared.to_vec(), false, execution)
            .forward(&x, rectify.is_some())
    }
}

/// What a rectified output was, and the share of the gradient that goes on where it is 0.
#[derive(Clone, Debug)]
struct Rectified {
    output: Primitive,
    leak: f32,
}

impl Rectified {
    fn new(output: &Primitive, rectify: Option<f32>) -> Option<Self> {
        rectify.map(|leak| Self { output: output.clone(), leak })
    }

    /// The gradient before it was rectified.
    fn before(&self, gradient: Primitive) -> Primitive {
        match self.leak {
            0.0 => Flex::relu_backward(self.output.clone(), gradient),
            leak => rectify::before(&self.output, &gradient, leak),
        }
    }
}

/// The gradient of the images alone.
#[derive(Debug)]
struct ImageGradient;

impl Backward<Flex, 1> for ImageGradient {
    /// The convolutions, and the output where it was rectified.
    type State = (Joined, Option<Rectified>);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = contiguous(&gradients.consume::<Flex>(&ops.node));
        let (joined, rectified) = ops.state;
        let [Some(x)] = ops.parents else { return };
        gradients.register::<Flex>(x.id, joined.input_gradient(&gradient, rectified.as_ref()));
    }
}

/// In so many groups of images the gradients of weights are added up, side by side.
const GROUPS: usize = 4;

/// The gradients of images, weights and bias of one convolution.
#[derive(Debug)]
struct Gradient;

impl Gradient {
    /// The gradient of the weights, from that of the output before it was rectified.
    fn of_weights(set: InstructionSet, shape: &Shape, x: &Primitive, gradient: &Primitive) -> Primitive {
        let [n, ..] = dims(gradient);
        let [input, output] = shape.channels;
        let [kh, kw] = shape.kernel;
        let [images, gradients] =
            [values(x), values(gradient)].map(|all| all.chunks(all.len() / n).collect::<Vec<_>>());
        // The same groups on any number of cores, so that sums are the same.
        let group = n.div_ceil(GROUPS);
        let sums: Vec<Vec<f32>> = images
            .par_chunks(group)
            .zip(gradients.par_chunks(group))
            .map(|(images, gradients)| {
                let mut sum = vec![0.0; output * input * kh * kw];
                for (x, gradient) in images.iter().zip(gradients) {
                    shape.add_weight_gradient(set, x, gradient, &mut sum);
                }
                sum
            })
            .collect();
        let add = |mut all: Vec<f32>, sum: Vec<f32>| {
            all.iter_mut().zip(sum).for_each(|(all, sum)| *all += sum);
            all
        };
        let sum = sums.into_iter().reduce(add).expect("there is an image");
        tensor(sum, [output, input, kh, kw], gradient)
    }
}

impl Backward<Flex, 3> for Gradient {
    /// The images, the convolution, and the output where it was rectified.
    type State = (Option<Primitive>, Joined, Option<Rectified>);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = contiguous(&gradients.consume::<Flex>(&ops.node));
        let (images, joined, rectified) = ops.state;
        let [x, weight, bias] = ops.parents;
        if let Some(x) = x {
            gradients.register::<Flex>(x.id, joined.input_gradient(&gradient, rectified.as_ref()));
        }
        if weight.is_none() && bias.is_none() {
            return;
        }
        let gradient = match rectified {
            Some(rectified) => rectified.before(gradient),
            None => gradient,
        };
        let shape = &joined.shapes[0];
        if let Some(weight) = weight {
            let images = images.expect("kept where weights have gradients");
            gradients.register::<Flex>(
                weight.id,
                Self::of_weights(joined.execution.set, shape, &images, &gradient),
            );
        }
        if let Some(bias) = bias {
            let [_, channels] = shape.channels;
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
        prepared: Prepared,
        rectify: Option<f32>,
        execution: Execution,
    ) -> FloatTensor<Self> {
        let learned = weight.is_tracked();
        let [(x, image_node), (weight, weight_node), (bias, bias_node)] =
            [x, weight, bias].map(|tensor| tensor.into_parts());
        let [x, weight, bias] = [&x, &weight, &bias].map(contiguous);
        let joined = Joined::new(vec![shape], vec![weight], vec![bias], vec![prepared], learned, execution);
        let output = joined.forward(&x, rectify.is_some());
        with_gradient::<C, _, 3>(Gradient, [image_node, weight_node, bias_node], output, |output| {
            (learned.then_some(x), joined, Rectified::new(output, rectify))
        })
    }

    fn pair(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        second_weight: FloatTensor<Self>,
        second_bias: FloatTensor<Self>,
        shapes: [Shape; 2],
        prepared: [Prepared; 2],
        rectify: Option<f32>,
        execution: Execution,
    ) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let [weights, biases] = [[weight, second_weight], [bias, second_bias]]
            .map(|parameters| parameters.map(|tensor| contiguous(&tensor.into_parts().0)).to_vec());
        let joined = Joined::new(shapes.to_vec(), weights, biases, prepared.to_vec(), false, execution);
        let output = joined.forward(&x, rectify.is_some());
        with_gradient::<C, _, 1>(ImageGradient, [node], output, |output| {
            (joined, Rectified::new(output, rectify))
        })
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{Module, Param};
    use burn::tensor::{Device, Distribution, TensorData};
    use proptest::prelude::*;
    use rand::{Rng, RngExt};

    use super::*;
    use crate::execution::Tiling;
    use crate::execution::tests::{executions, rng};

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
                unused: [(0, 0); 2],
                dilation: [a.2, b.2],
            };
            (n, shape)
        })
    }

    /// Whole numbers from -2 to 2: sums of a few of their products are exact in any order, and so are Winograd's, which are
    /// multiples of 1/4.
    fn whole<const D: usize>(dims: [usize; D], rng: &mut impl Rng, device: &Device) -> Tensor<D> {
        let values: Vec<f32> = (0..dims.iter().product()).map(|_| rng.random_range(-2..3) as f32).collect();
        Tensor::from_data(TensorData::new(values, dims), device)
    }

    fn conv(shape: &Shape, bias: bool, rng: &mut impl Rng, device: &Device) -> Conv2d {
        let [input, output] = shape.channels;
        let [(top, bottom), (left, right)] = shape.padding;
        Conv2d {
            weight: Param::from_tensor(whole([output, input, shape.kernel[0], shape.kernel[1]], rng, device)),
            bias: bias.then(|| Param::from_tensor(whole([output], rng, device))),
            stride: shape.stride,
            kernel_size: shape.kernel,
            dilation: shape.dilation,
            groups: 1,
            padding: PaddingConfig2d::Explicit(top, left, bottom, right),
        }
    }

    /// No ReLU, one, or one whose gradient leaks.
    fn rectified() -> impl Strategy<Value = Option<f32>> {
        prop::sample::select(vec![None, Some(0.0), Some(0.25)])
    }

    /// What Burn's own convolutions of the same image give, joined.
    fn burns(convs: &[&Conv2d], x: Tensor<4>, rectify: Option<f32>) -> Tensor<4> {
        let y = Tensor::cat(convs.iter().map(|conv| conv.forward(x.clone())).collect(), 1);
        let Some(leak) = rectify else { return y };
        let below = y.clone() * y.clone().lower_equal_elem(0.0).float() * leak;
        burn::tensor::activation::relu(y) + (below.clone() - below.detach())
    }

    /// Dimensions and values.
    type Data = (Vec<usize>, Vec<f32>);

    fn data<const D: usize>(tensor: Tensor<D>) -> Data {
        (tensor.dims().to_vec(), tensor.into_data().try_to_vec().unwrap())
    }

    /// Output, gradient of the images, and those of weights and bias where they are learned.
    fn results(
        conv: &Conv2d,
        x: &Tensor<4>,
        forward: impl Fn(Tensor<4>) -> Tensor<4>,
        rng: &mut (impl Rng + Clone),
    ) -> Vec<Data> {
        let x = x.clone().require_grad();
        let y = forward(x.clone());
        let factors = whole(y.dims(), &mut rng.clone(), &y.device());
        let gradients = (y.clone() * factors).sum().backward();
        let weight = conv.weight.val().grad(&gradients).map(data);
        let bias = conv.bias.as_ref().and_then(|bias| bias.val().grad(&gradients)).map(data);
        let both = [y.without_autodiff(), x.grad(&gradients).unwrap()];
        both.map(data).into_iter().chain(weight).chain(bias).collect()
    }

    fn on_cores<R: Send>(cores: usize, f: impl FnOnce() -> R + Send) -> R {
        rayon::ThreadPoolBuilder::new().num_threads(cores).build().unwrap().install(f)
    }

    proptest! {
        /// Output and all gradients are those of Burn's own convolution and ReLU, on one core and on two.
        #[test]
        fn kernels_agree_with_burns((n, shape) in sizes(), bias: bool, rectify in rectified(), cores in 1usize..3, execution in executions(), seed: u64) {
            let [ours, theirs] = on_cores(cores, || {
                let device = Device::flex().autodiff();
                let mut rng = rng(seed);
                let conv = conv(&shape, bias, &mut rng, &device);
                let [h, w] = shape.input;
                let x = whole([n, shape.channels[0], h, w], &mut rng, &device);
                [
                    results(&conv, &x, |x| convolve_with(&conv, &Prepared::default(), x, rectify, execution), &mut rng),
                    results(&conv, &x, |x| burns(&[&conv], x, rectify), &mut rng),
                ]
            });
            prop_assert_eq!(ours.len(), 3 + usize::from(bias));
            prop_assert!(ours == theirs);
        }
    }

    /// Output channels, and by axis how far a kernel of odd size reaches from its middle and its dilation.
    type Kernel = (usize, [(usize, usize); 2]);

    fn kernel() -> impl Strategy<Value = Kernel> {
        let axis = || (0usize..3, 1usize..3);
        (1usize..20, [axis(), axis()])
    }

    proptest! {
        /// Joined convolutions and the gradient of what they read are those of Burn's own.
        #[test]
        fn joined_kernels_agree_with_burns(
            n in 1usize..3,
            channels in 1usize..9,
            input in [1usize..12, 1usize..20],
            kernels in [kernel(), kernel()],
            bias: [bool; 2],
            rectify in rectified(),
            cores in 1usize..3,
            execution in executions(),
            seed: u64,
        ) {
            let [ours, theirs] = on_cores(cores, || {
                let device = Device::flex();
                let mut rng = rng(seed);
                // The output is as large as the input, with more of the margin after it for the second.
                let convs = [0, 1].map(|i| {
                    let (output, axes) = kernels[i];
                    let shape = Shape {
                        channels: [channels, output],
                        input,
                        kernel: axes.map(|(reach, _)| 2 * reach + 1),
                        stride: [1, 1],
                        padding: axes.map(|(reach, dilation)| {
                            let margin = reach * dilation;
                            if i == 0 { (margin, margin) } else { (margin / 2, 2 * margin - margin / 2) }
                        }),
                        unused: [(0, 0); 2],
                        dilation: axes.map(|(_, dilation)| dilation),
                    };
                    conv(&shape, bias[i], &mut rng, &device).train().freeze()
                });
                let convs = [&convs[0], &convs[1]];
                let own = [Prepared::default(), Prepared::default()];
                let x = whole([n, channels, input[0], input[1]], &mut rng, &device.autodiff());
                [
                    results(convs[0], &x, |x| convolve_pair_with([(convs[0], &own[0]), (convs[1], &own[1])], x, rectify, execution), &mut rng),
                    results(convs[0], &x, |x| burns(&convs, x, rectify), &mut rng),
                ]
            });
            prop_assert!(ours == theirs);
        }

        /// So are those of 3x3 kernels that are not learned, which go by tiles, alone and beside a 1x1 kernel.
        #[test]
        fn tiles_agree_with_burns(
            n in 1usize..3,
            channels in [2usize..40, 2usize..40, 1usize..40],
            padding in [0usize..4, 0usize..4],
            extra in [0usize..20, 0usize..70],
            bias: bool,
            rectify in rectified(),
            cores in 1usize..3,
            execution in executions(),
            seed: u64,
        ) {
            let [[ours, theirs], [our_pair, their_pair]] = on_cores(cores, || {
                let device = Device::flex();
                let mut rng = rng(seed);
                let [read, output, beside] = channels;
                let input = [0, 1].map(|d| 3usize.saturating_sub(2 * padding[d]).max(1) + extra[d]);
                let x = whole([n, read, input[0], input[1]], &mut rng, &device.clone().autodiff());
                let mut conv = |output: usize, kernel: usize, padding: [usize; 2]| {
                    let shape = Shape {
                        channels: [read, output],
                        input,
                        kernel: [kernel; 2],
                        stride: [1, 1],
                        padding: padding.map(|p| (p, p)),
                        unused: [(0, 0); 2],
                        dilation: [1, 1],
                    };
                    conv(&shape, bias, &mut rng, &device).train().freeze()
                };
                let (alone, large, small) = (conv(output, 3, padding), conv(output, 3, [1, 1]), conv(beside, 1, [0, 0]));
                let pair = [&small, &large];
                let own = [Prepared::default(), Prepared::default()];
                [
                    [
                        results(&alone, &x, |x| convolve_with(&alone, &Prepared::default(), x, rectify, execution), &mut rng),
                        results(&alone, &x, |x| burns(&[&alone], x, rectify), &mut rng),
                    ],
                    [
                        results(&large, &x, |x| convolve_pair_with([(pair[0], &own[0]), (pair[1], &own[1])], x, rectify, execution), &mut rng),
                        results(&large, &x, |x| burns(&pair, x, rectify), &mut rng),
                    ],
                ]
            });
            prop_assert!(ours == theirs);
            prop_assert!(our_pair == their_pair);
        }
    }

    /// Large enough for several tasks and for whole tiles of every height, of numbers that are not whole.
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
                unused: [(0, 0); 2],
                dilation: [1, 1],
            };
            let device = Device::flex();
            let mut rng = rng(0);
            let conv = conv(&shape, true, &mut rng, &device).train().freeze();
            let device = device.autodiff();
            let x = Tensor::<4>::random([1, channels[0], side, side], Distribution::Default, &device);
            let theirs = results(&conv, &x, |x| burns(&[&conv], x, None), &mut rng);
            for set in InstructionSet::available() {
                let execution = Execution { set, tiling: Tiling::DEFAULT };
                let ours = results(
                    &conv,
                    &x,
                    |x| convolve_with(&conv, &Prepared::default(), x, None, execution),
                    &mut rng,
                );
                for ((dims, ours), (their_dims, theirs)) in ours.iter().zip(&theirs) {
                    assert_eq!(dims, their_dims);
                    let scale = theirs.iter().fold(0f32, |most, x| most.max(x.abs()));
                    assert!(ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() <= 1e-5 * scale), "{set}");
                }
            }
        }
    }
}
