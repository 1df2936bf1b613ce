//! Architectures: functions that give the graph of a network.

mod efficientnet;
mod inception_v1;
mod resnet;
mod small_cnn;
mod squeezenet;
mod vit;

pub use efficientnet::efficientnet_lite0;
pub use inception_v1::inception_v1;
pub use resnet::resnet_cifar;
pub use small_cnn::{small_cnn, small_cnn_of_width};
pub use squeezenet::squeezenet1_0;
use trompe_base::error::{Error, Result};
pub use vit::vit_small;

use super::Graph;

/// The names that [`builder`] knows, beside `small-cnn-N` with N channels in the first layer.
pub const BUILDERS: [&str; 9] = [
    "small-cnn",
    "vit-small",
    "squeezenet1_0",
    "inception_v1",
    "efficientnet_lite0",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
];

/// The N of `small-cnn-N`.
fn width(name: &str) -> Option<usize> {
    let width = name.strip_prefix("small-cnn-")?.parse().ok()?;
    (1..=256).contains(&width).then_some(width)
}

/// Whether [`builder`] knows a name.
pub fn is_known(name: &str) -> bool {
    BUILDERS.contains(&name) || width(name).is_some()
}

/// The graph of a named architecture with that many classes.
///
/// # Errors
/// Usage, with the names there are, if it is none of [`BUILDERS`].
pub fn builder(name: &str, classes: usize) -> Result<Graph> {
    if let Some(width) = width(name) {
        return Ok(small_cnn_of_width(width, classes));
    }
    Ok(match name {
        "small-cnn" => small_cnn(classes),
        "vit-small" => vit_small(classes),
        "squeezenet1_0" => squeezenet1_0(classes),
        "inception_v1" => inception_v1(classes),
        "efficientnet_lite0" => efficientnet_lite0(classes),
        "resnet20" => resnet_cifar(20, classes),
        "resnet32" => resnet_cifar(32, classes),
        "resnet44" => resnet_cifar(44, classes),
        "resnet56" => resnet_cifar(56, classes),
        _ => {
            return Err(Error::usage(format!(
                "network.builder: no architecture \"{name}\"; there are {}, and small-cnn-N with N (1 to 256) channels in \
                 the first layer instead of 16",
                BUILDERS.join(", ")
            )));
        }
    })
}
