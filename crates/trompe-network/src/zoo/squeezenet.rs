use crate::{Graph, Op, op};

/// SqueezeNet 1.0 (Iandola et al., 2016) for 224 px images, with torchvision's layer names: `features.3` is the
/// output of the first Fire module, `classifier.1` the last convolution.
pub fn squeezenet1_0(classes: usize) -> Graph {
    let mut g = Graph::new("squeezenet1_0", 3);
    let pool = Op::max_pool(3, 2, 0, true);
    g.then("features.0", Op::conv(3, 96, 7, 2, 0));
    g.then("features.1", op::Relu);
    g.then("features.2", pool.clone());
    let mut input = 96;
    for (index, squeeze, expand) in [
        (3, 16, 64),
        (4, 16, 64),
        (5, 32, 128),
        (7, 32, 128),
        (8, 48, 192),
        (9, 48, 192),
        (10, 64, 256),
        (12, 64, 256),
    ] {
        if index == 7 || index == 12 {
            g.then(format!("features.{}", index - 1), pool.clone());
        }
        let name = |part: &str| format!("features.{index}.{part}");
        g.then(name("squeeze"), Op::conv(input, squeeze, 1, 1, 0));
        let squeezed = g.then(name("squeeze_activation"), op::Relu);
        let branches = [("expand1x1", 1), ("expand3x3", 3)].map(|(branch, kernel)| {
            let conv = Op::conv(squeeze, expand, kernel, 1, kernel / 2);
            g.push(name(branch), conv, &[&squeezed]);
            g.then(name(&format!("{branch}_activation")), op::Relu)
        });
        g.push(format!("features.{index}"), op::Concat::default(), &[&branches[0], &branches[1]]);
        input = 2 * expand;
    }
    g.then("classifier.1", Op::conv(input, classes, 1, 1, 0));
    g.then("classifier.2", op::Relu);
    g.then("classifier.3", op::GlobalAvgPool);
    g
}
