//! The inverse real Fourier transform as one operation of Burn's flex backend, with its gradient.

use std::cell::RefCell;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use realfft::RealFftPlanner;
use realfft::num_complex::Complex32;
use rustfft::FftPlanner;

use crate::flex::{Primitive, by_part, dims};

/// What the backend is extended by.
#[backend_extension(Flex, Autodiff)]
trait Fourier: Backend {
    /// Images `[N, C, H, W]` of spectra `[N, C, 2H, W/2 + 1]`: real parts above imaginary ones. Both axes are divided by the
    /// root of their length.
    fn inverse(spectra: FloatTensor<Self>, width: usize) -> FloatTensor<Self>;
}

/// The images `[N, C, H, W]` of spectra `[N, C, 2H, W/2 + 1]` on the flex backend.
pub(super) fn inverse(spectra: Tensor<4>, width: usize) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::inverse(spectra.into_dispatch(), width))
}

thread_local! {
    /// Plans of transforms, kept for the next step.
    static PLANS: RefCell<(FftPlanner<f32>, RealFftPlanner<f32>)> =
        RefCell::new((FftPlanner::new(), RealFftPlanner::new()));
}

/// The image `[H, W]` of a spectrum `[2H, F]`.
fn image(spectrum: &[f32], [height, width]: [usize; 2], image: &mut [f32]) {
    let half = width / 2 + 1;
    let (columns, rows) = PLANS
        .with_borrow_mut(|(complex, real)| (complex.plan_fft_inverse(height), real.plan_fft_inverse(width)));
    let (re, im) = spectrum.split_at(height * half);
    // Column by column, each in one piece.
    let mut parts: Vec<Complex32> = (0..half)
        .flat_map(|k| (0..height).map(move |y| y * half + k))
        .map(|i| Complex32::new(re[i], im[i]))
        .collect();
    columns.process(&mut parts);
    let norm = 1.0 / ((height * width) as f32).sqrt();
    let mut row = rows.make_input_vec();
    for (y, out) in image.chunks_mut(width).enumerate() {
        for (k, value) in row.iter_mut().enumerate() {
            *value = parts[k * height + y] * norm;
        }
        // A real signal has no imaginary part at these frequencies.
        row[0].im = 0.0;
        if width.is_multiple_of(2) {
            row[half - 1].im = 0.0;
        }
        rows.process(&mut row, out).expect("buffers of the plan's lengths");
    }
}

/// The gradient `[2H, F]` of a spectrum, from that of its image `[H, W]`.
fn spectrum(gradient: &[f32], [height, width]: [usize; 2], spectrum: &mut [f32]) {
    let half = width / 2 + 1;
    let (columns, rows) = PLANS
        .with_borrow_mut(|(complex, real)| (complex.plan_fft_forward(height), real.plan_fft_forward(width)));
    let norm = 1.0 / ((height * width) as f32).sqrt();
    let mut parts = vec![Complex32::default(); half * height];
    let mut row = rows.make_input_vec();
    let mut frequencies = rows.make_output_vec();
    for (y, from) in gradient.chunks(width).enumerate() {
        row.copy_from_slice(from);
        rows.process(&mut row, &mut frequencies).expect("buffers of the plan's lengths");
        for (k, &value) in frequencies.iter().enumerate() {
            // Negative frequencies mirror the positive ones, so that those count twice.
            let twice = if k == 0 || 2 * k == width { 1.0 } else { 2.0 };
            parts[k * height + y] = value * (twice * norm);
        }
    }
    columns.process(&mut parts);
    let (re, im) = spectrum.split_at_mut(height * half);
    for (k, column) in parts.chunks(height).enumerate() {
        for (y, value) in column.iter().enumerate() {
            re[y * half + k] = value.re;
            im[y * half + k] = value.im;
        }
    }
}

impl Fourier for Flex {
    fn inverse(spectra: Primitive, width: usize) -> Primitive {
        let [n, c, twice, _] = dims(&spectra);
        let size = [twice / 2, width];
        by_part(&spectra, n * c, [n, c, size[0], size[1]], |_, from, to| image(from, size, to))
    }
}

#[derive(Debug)]
struct Forward;

impl Backward<Flex, 1> for Forward {
    type State = ();

    fn backward(self, ops: Ops<(), 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        let [Some(spectra)] = ops.parents else { return };
        let [n, c, height, width] = dims(&gradient);
        let dims = [n, c, 2 * height, width / 2 + 1];
        let back = by_part(&gradient, n * c, dims, |_, from, to| spectrum(from, [height, width], to));
        gradients.register::<Flex>(spectra.id, back);
    }
}

impl<C: CheckpointStrategy> Fourier for Autodiff<Flex, C> {
    fn inverse(spectra: FloatTensor<Self>, width: usize) -> FloatTensor<Self> {
        let (spectra, node) = spectra.into_parts();
        let images = Flex::inverse(spectra, width);
        match Forward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((), images),
            OpsKind::UnTracked(prep) => prep.finish(images),
        }
    }
}
