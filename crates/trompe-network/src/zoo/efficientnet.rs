use crate::padding::{Padding, Same};
use crate::{Graph, op};

/// EfficientNet-Lite0 for 224 px images: EfficientNet-B0 (Tan & Le, 2019) without squeeze-and-excitation and with ReLU6. Names
/// are those of the `efficientnet-lite-pytorch` checkpoints; `_blocks.2` is the output of a block with a shortcut, and
/// `_blocks.1._bn2` that of one without.
pub fn efficientnet_lite0(classes: usize) -> Graph {
    let mut g = Graph::new("efficientnet_lite0", 3);
    g.then("_conv_stem", convolution(3, 32, 3, 2, 1));
    g.then("_bn0", norm(32));
    let mut x = g.then("_relu0", RELU6);
    let mut input = 32;
    let mut block = 0;
    // How often, kernel, stride of the first, expansion, channels.
    for (repeats, kernel, stride, expansion, output) in [
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    ] {
        for repeat in 0..repeats {
            let name = |part: &str| format!("_blocks.{block}._{part}");
            let stride = if repeat == 0 { stride } else { 1 };
            let wide = input * expansion;
            if expansion > 1 {
                g.then(name("expand_conv"), convolution(input, wide, 1, 1, 1));
                g.then(name("bn0"), norm(wide));
                g.then(name("relu0"), RELU6);
            }
            g.then(name("depthwise_conv"), convolution(wide, wide, kernel, stride, wide));
            g.then(name("bn1"), norm(wide));
            g.then(name("relu1"), RELU6);
            g.then(name("project_conv"), convolution(wide, output, 1, 1, 1));
            let mut y = g.then(name("bn2"), norm(output));
            if stride == 1 && input == output {
                y = g.push(format!("_blocks.{block}"), op::Add, &[&y, &x]);
            }
            (x, input) = (y, output);
            block += 1;
        }
    }
    g.then("_conv_head", convolution(input, 1280, 1, 1, 1));
    g.then("_bn1", norm(1280));
    g.then("_relu1", RELU6);
    g.then("_avg_pooling", op::GlobalAvgPool);
    g.then("_fc", op::Linear { features: [1280, classes], bias: true });
    g
}

const RELU6: op::Clip = op::Clip { min: Some(0.0), max: Some(6.0) };

/// As TensorFlow pads: the output is as large as the input, divided by the stride.
fn convolution(input: usize, output: usize, kernel: usize, stride: usize, groups: usize) -> op::Conv {
    op::Conv {
        channels: [input, output],
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: Padding::Same(Same::SameUpper),
        dilation: [1; 2],
        groups,
        bias: false,
    }
}

fn norm(channels: usize) -> op::BatchNorm {
    op::BatchNorm { channels, epsilon: 1e-3 }
}
