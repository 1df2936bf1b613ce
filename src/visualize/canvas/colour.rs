//! Colours as an optimizer moves them: decorrelated as those of photographs are, and free of bounds.

use burn::tensor::{Tensor, TensorData, activation};

use crate::network::pointwise;

/// The square root of the covariance of ImageNet's colours (from lucid), scaled so that its longest column is 1.
const COLOUR: [[f32; 3]; 3] = [[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]];

/// How much of each decorrelated colour is in red, in green and in blue.
fn matrix() -> [f32; 9] {
    let longest =
        (0..3).map(|c| COLOUR.iter().map(|row| row[c] * row[c]).sum::<f32>().sqrt()).fold(0.0, f32::max);
    std::array::from_fn(|i| COLOUR[i / 3][i % 3] / longest)
}

/// The RGB images in 0..1 of decorrelated colours, both `[N, 3, H, W]`.
pub fn image(pixels: Tensor<4>) -> Tensor<4> {
    let colour = TensorData::new(matrix().to_vec(), [3, 3, 1, 1]);
    let coloured = pointwise(pixels, colour, TensorData::zeros::<f32, _>([3]));
    #[cfg(feature = "flex")]
    if trompe_kernels::holds(&coloured) {
        return trompe_kernels::sigmoid(coloured);
    }
    activation::sigmoid(coloured)
}

/// The decorrelated colours of RGB images in 0..1: what [`image`] makes of them again. Darkest and brightest pixels, which no
/// finite value stands for, are taken a little from the ends.
pub fn pixels(images: Tensor<4>) -> Tensor<4> {
    const END: f32 = 0.01;
    let images = images.clamp(END, 1.0 - END);
    let coloured = (images.clone() / (images * -1.0 + 1.0)).log();
    let colour = TensorData::new(inverse(matrix()).to_vec(), [3, 3, 1, 1]);
    pointwise(coloured, colour, TensorData::zeros::<f32, _>([3]))
}

/// The inverse of a matrix of three rows.
fn inverse(m: [f32; 9]) -> [f32; 9] {
    let minor = |i: usize, j: usize| {
        let at = |di: usize, dj: usize| m[(i + di) % 3 * 3 + (j + dj) % 3];
        at(1, 1) * at(2, 2) - at(1, 2) * at(2, 1)
    };
    let determinant: f32 = (0..3).map(|j| m[j] * minor(0, j)).sum();
    std::array::from_fn(|i| minor(i % 3, i / 3) / determinant)
}
