use crate::{Graph, Op, op};

/// The CIFAR ResNet of He et al. (2016, section 4.2) with `depth` = 6n + 2 layers, for 32 px images. Shortcuts that
/// change the shape are strided slices with zero channels around them (option A). Names are those of the
/// `pytorch_resnet_cifar10` weights.
pub fn resnet_cifar(depth: usize, classes: usize) -> Graph {
    assert!(depth % 6 == 2, "a CIFAR ResNet has 6n + 2 layers");
    let mut g = Graph::new(&format!("resnet{depth}"), 3);
    let conv_bn = |g: &mut Graph, conv: String, bn: String, from: &str, input, output, stride| {
        let op = Op::conv(input, output, 3, stride, 1).without_bias();
        g.push(conv, op, &[from]);
        g.then(bn, Op::batch_norm(output))
    };
    conv_bn(&mut g, "conv1".into(), "bn1".into(), "input", 3, 16, 1);
    let mut x = g.then("relu", op::Relu);
    let mut input = 16;
    for (stage, output) in [(1, 16), (2, 32), (3, 64)] {
        for block in 0..(depth - 2) / 6 {
            let stride = if stage > 1 && block == 0 { 2 } else { 1 };
            let name = |part: &str| format!("layer{stage}.{block}.{part}");
            conv_bn(&mut g, name("conv1"), name("bn1"), &x, input, output, stride);
            let y = g.then(name("relu1"), op::Relu);
            let y = conv_bn(&mut g, name("conv2"), name("bn2"), &y, output, output, 1);
            let shortcut = if stride == 2 {
                let pad = (output - input) / 2;
                g.push(name("shortcut.slice"), Op::Subsample(op::Subsample { stride }), &[&x]);
                g.then(name("shortcut"), Op::PadChannels(op::PadChannels { before: pad, after: pad }))
            } else {
                x.clone()
            };
            g.push(name("add"), op::Add, &[&y, &shortcut]);
            x = g.then(format!("layer{stage}.{block}"), op::Relu);
            input = output;
        }
    }
    g.then("avgpool", op::GlobalAvgPool);
    g.then("linear", Op::Linear(op::Linear { features: [64, classes], bias: true }));
    g
}
