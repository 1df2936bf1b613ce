use crate::network::{Graph, Op};

/// A CNN of six convolutions for 64 px images, with about 190,000 parameters. Like SqueezeNet it ends in a 1x1
/// convolution, one channel a class, and the mean over the map, so a class score is a unit like any other.
pub fn small_cnn(classes: usize) -> Graph {
    let mut g = Graph::new("small-cnn", 3);
    let conv = |g: &mut Graph, i: usize, input, output, kernel, stride| {
        let op = Op::conv(input, output, kernel, stride, kernel / 2).without_bias();
        g.then(format!("conv{i}"), op);
        g.then(format!("bn{i}"), Op::batch_norm(output));
        g.then(format!("relu{i}"), Op::Relu);
    };
    let pool = Op::max_pool(2, 2, 0, false);
    conv(&mut g, 1, 3, 24, 7, 4);
    conv(&mut g, 2, 24, 32, 3, 1);
    g.then("pool1", pool.clone());
    conv(&mut g, 3, 32, 64, 3, 1);
    conv(&mut g, 4, 64, 64, 3, 1);
    conv(&mut g, 5, 64, 96, 3, 1);
    g.then("pool2", pool);
    conv(&mut g, 6, 96, 96, 3, 1);
    g.then("classifier", Op::conv(96, classes, 1, 1, 0));
    g.then("output", Op::GlobalAvgPool);
    g
}
