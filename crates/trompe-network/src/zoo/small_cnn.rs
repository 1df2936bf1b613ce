use crate::{Graph, Op, op};

/// A CNN of ten convolutions for 64 px images, with about 380,000 parameters. Like SqueezeNet it ends in a 1x1 convolution,
/// one channel a class, and the mean over the map, so a class score is a unit like any other.
pub fn small_cnn(classes: usize) -> Graph {
    of_width("small-cnn", WIDTH, classes)
}

/// The first layer's channels.
const WIDTH: usize = 16;

/// The same with another number of channels in the first layer, and as many times more or fewer in all others.
pub fn small_cnn_of_width(width: usize, classes: usize) -> Graph {
    of_width(&format!("small-cnn-{width}"), width, classes)
}

fn of_width(name: &str, width: usize, classes: usize) -> Graph {
    let mut g = Graph::new(name, 3);
    let mut input = 3;
    for (i, (output, stride)) in
        [(16, 2), (24, 1), (32, 1), (48, 1), (48, 1), (64, 1), (96, 1), (96, 1), (128, 1)]
            .into_iter()
            .enumerate()
    {
        let i = i + 1;
        let output = (output * width).div_ceil(WIDTH);
        g.then(format!("conv{i}"), Op::conv(input, output, 3, stride, 1).without_bias());
        g.then(format!("bn{i}"), Op::batch_norm(output));
        g.then(format!("relu{i}"), op::Relu);
        if let 2 | 5 | 7 = i {
            g.then(format!("pool{}", i / 2), Op::max_pool(2, 2, 0, false));
        }
        input = output;
    }
    g.then("classifier", Op::conv(input, classes, 1, 1, 0));
    g.then("output", op::GlobalAvgPool);
    g
}
