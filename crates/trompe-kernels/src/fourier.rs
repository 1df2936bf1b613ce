//! The inverse real Fourier transform as one operation of Burn's flex backend, with its gradient.

use std::cell::RefCell;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use rayon::prelude::*;
use realfft::RealFftPlanner;
use realfft::num_complex::Complex32;
use rustfft::FftPlanner;

use crate::tensor::{Primitive, contiguous, dims, tensor, values, with_gradient};

/// What the backend is extended by.
#[backend_extension(Flex, Autodiff)]
trait Fourier: Backend {
    /// Images `[N, C, H, W]` of spectra `[N, C, 2H, W/2 + 1]`, real parts above imaginary ones, that are first multiplied by
    /// `scale` `[1, 1, 2H, W/2 + 1]`. Both axes are divided by the root of their length.
    fn inverse(spectra: FloatTensor<Self>, scale: FloatTensor<Self>, width: usize) -> FloatTensor<Self>;
}

/// The images `[N, C, H, W]` of spectra `[N, C, 2H, W/2 + 1]` times `scale`, which nothing is learned by, on the flex backend.
pub fn inverse(spectra: Tensor<4>, scale: Tensor<4>, width: usize) -> Tensor<4> {
    let [spectra, scale] = [spectra, scale].map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::inverse(spectra, scale, width))
}

thread_local! {
    /// Plans of transforms, kept for the next step.
    static PLANS: RefCell<(FftPlanner<f32>, RealFftPlanner<f32>)> =
        RefCell::new((FftPlanner::new(), RealFftPlanner::new()));
}

/// Rows or columns that a core takes at a time.
const SHARE: usize = 16;

/// The images of `planes` spectra `[2H, F]` times `scale`.
fn images(spectra: &[f32], scale: &[f32], planes: usize, [height, width]: [usize; 2]) -> Vec<f32> {
    let half = width / 2 + 1;
    let (columns, rows) = PLANS
        .with_borrow_mut(|(complex, real)| (complex.plan_fft_inverse(height), real.plan_fft_inverse(width)));
    let norm = 1.0 / ((height * width) as f32).sqrt();
    // Column by column, each in one piece.
    let mut parts = vec![Complex32::default(); planes * half * height];
    parts.par_chunks_mut(height).with_min_len(SHARE).enumerate().for_each_init(
        || vec![Complex32::default(); columns.get_inplace_scratch_len()],
        |scratch, (i, column)| {
            let spectrum = &spectra[i / half * 2 * height * half..][..2 * height * half];
            for (y, value) in column.iter_mut().enumerate() {
                let [re, im] = [y, y + height].map(|y| y * half + i % half);
                *value = Complex32::new(spectrum[re] * scale[re], spectrum[im] * scale[im]);
            }
            columns.process_with_scratch(column, scratch);
        },
    );
    let mut images = vec![0.0; planes * height * width];
    images.par_chunks_mut(width).with_min_len(SHARE).enumerate().for_each_init(
        || (rows.make_input_vec(), rows.make_scratch_vec()),
        |(row, scratch), (i, image)| {
            let parts = &parts[i / height * half * height..][..half * height];
            for (k, value) in row.iter_mut().enumerate() {
                *value = parts[k * height + i % height] * norm;
            }
            // A real signal has no imaginary part at these frequencies.
            row[0].im = 0.0;
            if width.is_multiple_of(2) {
                row[half - 1].im = 0.0;
            }
            rows.process_with_scratch(row, image, scratch).expect("buffers of the plan's lengths");
        },
    );
    images
}

/// The gradients `[2H, F]` of spectra before they are multiplied by `scale`, from those of their images `[H, W]`.
fn spectra(gradients: &[f32], scale: &[f32], planes: usize, [height, width]: [usize; 2]) -> Vec<f32> {
    let half = width / 2 + 1;
    let (columns, rows) = PLANS
        .with_borrow_mut(|(complex, real)| (complex.plan_fft_forward(height), real.plan_fft_forward(width)));
    let norm = 1.0 / ((height * width) as f32).sqrt();
    let mut frequencies = vec![Complex32::default(); planes * height * half];
    frequencies.par_chunks_mut(half).zip(gradients.par_chunks(width)).with_min_len(SHARE).for_each_init(
        || (rows.make_input_vec(), rows.make_scratch_vec()),
        |(row, scratch), (frequencies, gradient)| {
            row.copy_from_slice(gradient);
            rows.process_with_scratch(row, frequencies, scratch).expect("buffers of the plan's lengths");
        },
    );
    let mut parts = vec![Complex32::default(); planes * half * height];
    parts.par_chunks_mut(height).with_min_len(SHARE).enumerate().for_each_init(
        || vec![Complex32::default(); columns.get_inplace_scratch_len()],
        |scratch, (i, column)| {
            let k = i % half;
            let frequencies = &frequencies[i / half * height * half..][..height * half];
            // Negative frequencies mirror the positive ones, so that those count twice.
            let twice = if k == 0 || 2 * k == width { 1.0 } else { 2.0 };
            for (value, row) in column.iter_mut().zip(frequencies.chunks(half)) {
                *value = row[k] * (twice * norm);
            }
            columns.process_with_scratch(column, scratch);
        },
    );
    let mut spectra = vec![0.0; planes * 2 * height * half];
    spectra.par_chunks_mut(half).with_min_len(SHARE).enumerate().for_each(|(i, row)| {
        let (plane, y) = (i / (2 * height), i % (2 * height));
        let parts = &parts[plane * half * height..][..half * height];
        for (k, (value, scale)) in row.iter_mut().zip(&scale[y * half..]).enumerate() {
            let part = parts[k * height + y % height];
            *value = if y < height { part.re } else { part.im } * scale;
        }
    });
    spectra
}

impl Fourier for Flex {
    fn inverse(spectra: Primitive, scale: Primitive, width: usize) -> Primitive {
        let [n, c, twice, _] = dims(&spectra);
        let size = [twice / 2, width];
        let [spectra, scale] = [&spectra, &scale].map(contiguous);
        let images = images(values(&spectra), values(&scale), n * c, size);
        tensor(images, [n, c, size[0], size[1]], &spectra)
    }
}

#[derive(Debug)]
struct Forward;

impl Backward<Flex, 1> for Forward {
    /// The scale.
    type State = Primitive;

    fn backward(self, ops: Ops<Primitive, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = contiguous(&gradients.consume::<Flex>(&ops.node));
        let [Some(node)] = ops.parents else { return };
        let [n, c, height, width] = dims(&gradient);
        let back = spectra(values(&gradient), values(&ops.state), n * c, [height, width]);
        gradients.register::<Flex>(node.id, tensor(back, [n, c, 2 * height, width / 2 + 1], &gradient));
    }
}

impl<C: CheckpointStrategy> Fourier for Autodiff<Flex, C> {
    fn inverse(spectra: FloatTensor<Self>, scale: FloatTensor<Self>, width: usize) -> FloatTensor<Self> {
        let (spectra, node) = spectra.into_parts();
        let (scale, _) = scale.into_parts();
        let scale = contiguous(&scale);
        let images = Flex::inverse(spectra, scale.clone(), width);
        with_gradient::<C, _, 1>(Forward, [node], images, |_| scale)
    }
}
