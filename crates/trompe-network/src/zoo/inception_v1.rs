use crate::{Graph, Op, Padding, Same, op};

/// Inception V1 (GoogLeNet; Szegedy et al., 2015) as in lucid, the network of Olah et al.'s and Geirhos et al.'s
/// visualizations, for 224 px RGB images of -117 to 138. Layers are called as in lucid: `mixed4a` is the output of a
/// block, `mixed4a_3x3` one of its branches after the ReLU, `mixed4a_3x3_pre_relu_conv` the convolution before it, and
/// `softmax2_pre_activation_matmul` gives the logits, 1008 in lucid's weights. Local response normalization is that of the
/// weights' conversion to PyTorch.
pub fn inception_v1(classes: usize) -> Graph {
    let mut g = Graph::new("inception_v1", 3);
    let same = Padding::Same(Same::SameUpper);
    let conv = |g: &mut Graph, name: &str, from: &str, channels: [usize; 2], kernel: usize, stride: usize| {
        let mut op = Op::conv(channels[0], channels[1], kernel, stride, 0);
        if let Op::Conv(op::Conv { padding, .. }) = &mut op {
            *padding = same;
        }
        g.push(format!("{name}_pre_relu_conv"), op, &[from]);
        g.then(name, op::Relu)
    };
    let pool = |stride: usize| {
        Op::MaxPool(op::MaxPool {
            kernel: [3, 3],
            stride: [stride; 2],
            padding: same,
            dilation: [1, 1],
            ceil: false,
        })
    };
    let lrn = Op::Lrn(op::Lrn { size: 9, alpha: 1e-4, beta: 0.5, bias: 1.0 });
    conv(&mut g, "conv2d0", "input", [3, 64], 7, 2);
    g.then("maxpool0", pool(2));
    let x = g.then("localresponsenorm0", lrn.clone());
    let x = conv(&mut g, "conv2d1", &x, [64, 64], 1, 1);
    conv(&mut g, "conv2d2", &x, [64, 192], 3, 1);
    g.then("localresponsenorm1", lrn);
    let mut x = g.then("maxpool1", pool(2));
    let mut input = 192;
    for (block, one, three, five, pooled) in [
        ("3a", 64, [96, 128], [16, 32], 32),
        ("3b", 128, [128, 192], [32, 96], 64),
        ("4a", 192, [96, 204], [16, 48], 64),
        ("4b", 160, [112, 224], [24, 64], 64),
        ("4c", 128, [128, 256], [24, 64], 64),
        ("4d", 112, [144, 288], [32, 64], 64),
        ("4e", 256, [160, 320], [32, 128], 128),
        ("5a", 256, [160, 320], [48, 128], 128),
        ("5b", 384, [192, 384], [48, 128], 128),
    ] {
        if let Some(name) = match block {
            "4a" => Some("maxpool4"),
            "5a" => Some("maxpool10"),
            _ => None,
        } {
            x = g.then(name, pool(2));
        }
        let name = |part: &str| format!("mixed{block}{part}");
        let a = conv(&mut g, &name("_1x1"), &x, [input, one], 1, 1);
        let b = conv(&mut g, &name("_3x3_bottleneck"), &x, [input, three[0]], 1, 1);
        let b = conv(&mut g, &name("_3x3"), &b, three, 3, 1);
        let c = conv(&mut g, &name("_5x5_bottleneck"), &x, [input, five[0]], 1, 1);
        let c = conv(&mut g, &name("_5x5"), &c, five, 5, 1);
        let d = g.push(name("_pool"), pool(1), &[&x]);
        let d = conv(&mut g, &name("_pool_reduce"), &d, [input, pooled], 1, 1);
        x = g.push(name(""), op::Concat::default(), &[&a, &b, &c, &d]);
        input = one + three[1] + five[1] + pooled;
    }
    g.then("avgpool0", op::GlobalAvgPool);
    g.then(
        "softmax2_pre_activation_matmul",
        Op::Linear(op::Linear { features: [1024, classes], bias: true }),
    );
    g.then("softmax2", op::Softmax::default());
    g
}
