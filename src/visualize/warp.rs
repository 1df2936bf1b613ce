//! Transforms composed: an image is resampled once, whatever is done to it.

use burn::tensor::ops::PadMode;
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::Rng;
use rayon::prelude::*;
use trompe_kernels::{BLACK, GREY, MARGIN, Sample, surrounded};

use super::transform::{AffineTransform, Transform};

/// Transforms drawn for one image at one step, composed into one map, so that the image is resampled once.
#[derive(Clone, Debug, PartialEq)]
pub struct Warp {
    /// Rows (y, then x) of the affine map from a pixel of the result, as (y, x, 1), to a place in the image.
    map: Affine,
    /// Height and width of the result.
    pub(super) size: [usize; 2],
    /// What a pixel has to lie in, or it is black.
    frames: Vec<Frame>,
}

/// An affine map of places, by rows.
pub(super) type Affine = [[f32; 3]; 2];

const IDENTITY: Affine = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]];

/// `inner` first, `outer` after it.
fn after(outer: Affine, inner: Affine) -> Affine {
    outer.map(|row| {
        std::array::from_fn(|j| {
            let constant = if j == 2 { row[2] } else { 0.0 };
            row[0] * inner[0][j] + row[1] * inner[1][j] + constant
        })
    })
}

/// The image as it was before some of the transforms.
#[derive(Clone, Debug, PartialEq)]
struct Frame {
    /// Where a pixel of the result lies in it.
    map: Affine,
    size: [usize; 2],
}

impl Frame {
    /// Whether the pixel (y, x) of the result lies in it.
    #[inline(always)]
    fn holds(&self, y: f32, x: f32) -> bool {
        (0..2).all(|axis| {
            let [down, right, shift] = self.map[axis];
            let at = down * y + right * x + shift;
            at > -0.5 && at < self.size[axis] as f32 - 0.5
        })
    }
}

impl Warp {
    /// The map that leaves an image as it is.
    pub fn identity(size: [usize; 2]) -> Self {
        Self { map: IDENTITY, size, frames: vec![] }
    }

    /// Draws the transforms for an image of this size. Sizes come from `common`, which all images of a step share,
    /// so that they can be processed in a batch; everything else from the image's own generator.
    pub fn draw(
        transforms: &[Transform],
        size: [usize; 2],
        common: &mut impl Rng,
        own: &mut impl Rng,
    ) -> Self {
        let mut warp = Self::identity(size);
        for transform in transforms {
            transform.draw(&mut warp, size, common, own);
        }
        warp
    }

    /// From here on, what lies outside of the result so far is black.
    pub(super) fn frame(&mut self) {
        self.frames.push(Frame { map: IDENTITY, size: self.size });
    }

    /// Puts `inner` between the result and the maps so far.
    pub(super) fn before(&mut self, inner: Affine) {
        self.map = after(self.map, inner);
        self.frames.iter_mut().for_each(|frame| frame.map = after(frame.map, inner));
    }

    /// Height and width of the result.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Where each pixel of the result lies in an image of this size, by row.
    fn samples(&self, image: [usize; 2]) -> Vec<Vec<Sample>> {
        let [height, width] = self.size;
        let row = |oy: usize| (0..width).map(|ox| self.sample(oy as f32, ox as f32, image)).collect();
        (0..height).into_par_iter().with_min_len(16).map(row).collect()
    }

    #[inline(always)]
    fn sample(&self, oy: f32, ox: f32, image: [usize; 2]) -> Sample {
        let [_, pitch] = surrounded(image);
        if !self.frames.iter().all(|frame| frame.holds(oy, ox)) {
            let [before, after] = MARGIN;
            return Sample { at: ((image[0] + before + after) * pitch) as u32, below: 0.0, right: 0.0 };
        }
        // What lies beyond the margin is as grey as the margin.
        let [y, x] = [0, 1].map(|axis| {
            let [down, right, shift] = self.map[axis];
            (down * oy + right * ox + shift).clamp(-1.0, image[axis] as f32) + MARGIN[0] as f32
        });
        let [above, left] = [y as u32, x as u32];
        Sample { at: above * pitch as u32 + left, below: y - above as f32, right: x - left as f32 }
    }

    /// Applies one warp to each image of `[N, C, H, W]`, bilinearly; all must have the same size.
    /// Differentiable.
    pub fn apply(warps: &[Self], images: Tensor<4>) -> Tensor<4> {
        let [n, _, h, w] = images.dims();
        assert_eq!(n, warps.len(), "one warp for each image");
        let [oh, ow] = warps[0].size;
        assert!(warps.iter().all(|warp| warp.size == [oh, ow]), "one size for all images of a batch");
        if warps.iter().all(|warp| *warp == Self::identity([h, w])) {
            return images;
        }
        #[cfg(feature = "flex")]
        if trompe_kernels::holds(&images) {
            return trompe_kernels::resample(images, warps.iter().map(|warp| warp.samples([h, w])).collect());
        }
        Self::gather(warps, images)
    }

    /// [`apply`](Self::apply) by Burn's own operations. Where pixels lie is computed on the device: places for all of them would
    /// be more to send than the images are.
    fn gather(warps: &[Self], images: Tensor<4>) -> Tensor<4> {
        let [before, after] = MARGIN;
        let [n, c, h, w] = images.dims();
        let [oh, ow] = warps[0].size;
        let padded = images.pad([(before, after); 2], PadMode::Constant(GREY));
        let padded = padded.pad([(0, BLACK), (0, 0)], PadMode::Constant(0.0));
        let [height, width] = surrounded([h, w]);
        let (places, [below, right]) = Self::places(warps, [h, w], &padded.device());
        let flat: Tensor<3> = padded.reshape([n, c, height * width]);
        let [above, left] = [&below, &right].map(|share| share.clone() * -1.0 + 1.0);
        let corners = [
            (0, above.clone() * left.clone()),
            (1, above * right.clone()),
            (width, below.clone() * left),
            (width + 1, below * right),
        ];
        // Each image by itself: gradients are added up by as many threads as there are planes.
        let pixels = oh * ow;
        let sum = corners.into_iter().fold(Tensor::zeros([n, c, pixels], &flat.device()), |sum, corner| {
            let (offset, share) = corner;
            let places = (places.clone() + offset as i32).reshape([n, 1, pixels]).expand([n, c, pixels]);
            sum + flat.clone().gather(2, places) * share.reshape([n, 1, pixels])
        });
        sum.reshape([n, c, oh, ow])
    }

    /// For the pixels of all results, `[N, pixels]`: the place of the first of the four pixels around each, in an image of this
    /// size with what is around it, and how far below and right of that one it lies.
    fn places(warps: &[Self], image: [usize; 2], device: &Device) -> (Tensor<2, Int>, [Tensor<2>; 2]) {
        let (n, [oh, ow]) = (warps.len(), warps[0].size);
        let pixels = oh * ow;
        let grid = |of: &dyn Fn(usize) -> usize| {
            let values: Vec<f32> = (0..pixels).map(|i| of(i) as f32).collect();
            Tensor::<2>::from_data(TensorData::new(values, [1, pixels]), device)
        };
        let (rows, columns) = (grid(&|i| i / ow), grid(&|i| i % ow));
        let each = |of: &dyn Fn(&Self) -> f32| {
            let values: Vec<f32> = warps.iter().map(of).collect();
            Tensor::<2>::from_data(TensorData::new(values, [n, 1]), device)
        };
        let mapped = |of: &dyn Fn(&Self) -> [f32; 3]| {
            let [down, right, shift] = [0, 1, 2].map(|i| each(&|warp| of(warp)[i]));
            down * rows.clone() + right * columns.clone() + shift
        };
        let [(above, below), (left, right)] = [0, 1].map(|axis| {
            let at = mapped(&|warp| warp.map[axis]).clamp(-1.0, image[axis] as f32) + MARGIN[0] as f32;
            let first = at.clone().floor();
            (first.clone(), at - first)
        });
        let [height, width] = surrounded(image);
        let places = above.int() * width as i32 + left.int();
        let frames = warps.iter().map(|warp| warp.frames.len()).max().unwrap_or(0);
        let outside = (0..2 * frames).map(|i| {
            let (frame, axis) = (i / 2, i % 2);
            // A frame that holds all, where there are fewer.
            let of =
                |warp: &Self| warp.frames.get(frame).map_or(([0.0; 3], 1), |f| (f.map[axis], f.size[axis]));
            let at = mapped(&|warp| of(warp).0);
            let end = each(&|warp| of(warp).1 as f32 - 0.5).expand([n, pixels]);
            at.clone().lower_equal_elem(-0.5).bool_or(at.greater_equal(end))
        });
        match outside.reduce(|a, b| a.bool_or(b)) {
            None => (places, [below, right]),
            Some(outside) => {
                let black = ((height - BLACK) * width) as i32;
                let shares = [below, right].map(|share| share.mask_fill(outside.clone(), 0.0));
                (places.mask_fill(outside, black), shares)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed;
    use crate::visualize::{Crop, Jitter, Pad, Rotate, Scale, reached, smallest, standard};

    fn image(h: usize, w: usize) -> Tensor<4> {
        let values: Vec<f32> = (0..h * w).map(|i| i as f32).collect();
        Tensor::from_data(TensorData::new(values, [1, 1, h, w]), &Device::default())
    }

    fn apply(transforms: &[Transform], h: usize, w: usize, seed: u64) -> (Vec<f32>, [usize; 2]) {
        let warp =
            Warp::draw(transforms, [h, w], &mut seed::rng(seed, &"common"), &mut seed::rng(seed, &"own"));
        let out = Warp::apply(std::slice::from_ref(&warp), image(h, w));
        (out.into_data().try_to_vec().unwrap(), warp.size)
    }

    #[test]
    fn padding_surrounds_with_grey() {
        let (out, size) = apply(&[Pad { pixels: 1 }.into()], 2, 2, 0);
        assert_eq!(size, [4, 4]);
        let g = GREY;
        #[rustfmt::skip]
        assert_eq!(out, [
            g, g, g, g,
            g, 0., 1., g,
            g, 2., 3., g,
            g, g, g, g,
        ]);
    }

    #[test]
    fn jitter_crops_without_changing_pixels() {
        for seed in 0..20 {
            let (out, size) = apply(&[Jitter { pixels: 2 }.into()], 5, 6, seed);
            assert_eq!(size, [3, 4]);
            let first = out[0];
            assert_eq!(out, (0..12).map(|i| first + (i / 4 * 6 + i % 4) as f32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_quarter_turn_moves_rows_to_columns() {
        let (out, size) = apply(&[Rotate { degrees: vec![90.0] }.into()], 3, 3, 0);
        assert_eq!(size, [3, 3]);
        let want = [2., 5., 8., 1., 4., 7., 0., 3., 6.];
        for (a, b) in out.iter().zip(want) {
            assert!((a - b).abs() < 1e-4, "{out:?}");
        }
    }

    /// White images, so that what is 0 is outside.
    fn white(transforms: &[Transform], size: usize) -> Vec<f32> {
        let own = &mut seed::rng(1, &"own");
        let warp = Warp::draw(transforms, [size; 2], &mut seed::rng(1, &"common"), own);
        let out = Warp::apply(&[warp], Tensor::ones([1, 1, size, size], &Device::default()));
        out.into_data().try_to_vec().unwrap()
    }

    #[test]
    fn what_is_turned_in_is_black_beyond_the_grey_margin() {
        // A diamond: its corners are beyond the image by a third of its side.
        let turned = white(&[Rotate { degrees: vec![45.0] }.into()], 9);
        assert_eq!([turned[0], turned[8], turned[4], turned[40]], [0.0, 0.0, 1.0, 1.0]);
        let padded = white(&[Pad { pixels: 3 }.into(), Rotate { degrees: vec![45.0] }.into()], 9);
        assert_eq!((padded.len(), padded[0]), (225, 0.0));
        assert!([18, 34].map(|i| (padded[i] - GREY).abs() < 1e-6) == [true; 2], "{:?}", &padded[15..45]);
    }

    #[test]
    fn a_crop_is_the_middle_in_the_image_s_own_size_and_black_where_something_is_missing() {
        let image: Vec<f32> = (0..16).map(|i| i as f32).collect();
        let (out, size) = apply(&[Pad { pixels: 2 }.into(), Crop.into()], 4, 4, 0);
        assert_eq!((out, size), (image, [4, 4]));
        let shrunk = white(&[Scale { factors: vec![0.5] }.into(), Crop.into()], 8);
        let row = |y: usize| &shrunk[y * 8..][..8];
        assert_eq!([row(1), row(3)], [&[0.0; 8][..], &[0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0][..]]);
    }

    #[test]
    fn doubling_puts_values_between_the_old_ones() {
        let (out, size) = apply(&[Scale { factors: vec![2.0] }.into()], 1, 3, 0);
        assert_eq!(size, [2, 6]);
        // Row 0 of the result lies a quarter pixel outside of the image's only row.
        let inner: Vec<f32> = out[1..5].iter().map(|v| (v - 0.25 * GREY) / 0.75).collect();
        for (a, b) in inner.iter().zip([0.25, 0.75, 1.25, 1.75]) {
            assert!((a - b).abs() < 1e-5, "{inner:?}");
        }
    }

    #[test]
    fn the_standard_schedule_keeps_the_size_within_its_bounds() {
        for seed in 0..50 {
            let (_, [h, w]) = apply(&standard(), 224, 224, seed);
            assert_eq!(h, w);
            assert_eq!(h, 224);
        }
        let [.., Transform::Crop(_)] = &standard()[..] else { panic!("the last is the crop") };
        let before = &standard()[..5];
        assert_eq!((reached(before, 224), smallest(&standard(), 224.into())), ([212, 260], 224));
    }

    #[test]
    fn the_gradient_is_the_transpose_of_the_sampling() {
        let x = image(6, 5).autodiff().require_grad();
        let warp = Warp::draw(
            &[Pad { pixels: 2 }.into(), Rotate { degrees: vec![7.0] }.into()],
            [6, 5],
            &mut seed::rng(0, &0),
            &mut seed::rng(0, &1),
        );
        let y = Warp::apply(std::slice::from_ref(&warp), x.clone());
        let grads = y.clone().powi_scalar(2).sum().backward();
        let grad: Vec<f32> = x.grad(&grads).unwrap().into_data().try_to_vec().unwrap();
        // Against differences: raise one pixel a little.
        let value = |values: Vec<f32>| -> f32 {
            let t = Tensor::from_data(TensorData::new(values, [1, 1, 6, 5]), &Device::default());
            Warp::apply(std::slice::from_ref(&warp), t).powi_scalar(2).sum().into_scalar()
        };
        let base: Vec<f32> = (0..30).map(|i| i as f32).collect();
        for pixel in [0, 7, 14, 29] {
            let [up, down] = [0.5, -0.5].map(|d| {
                let mut values = base.clone();
                values[pixel] += d;
                value(values)
            });
            assert!(((up - down) - grad[pixel]).abs() < 0.05 * grad[pixel].abs().max(1.0));
        }
    }

    /// The flex backend's one operation and Burn's many give the same images and gradients.
    #[test]
    #[cfg(feature = "flex")]
    fn resampling_agrees_with_gathering() {
        let [h, w] = [17, 23];
        let device = Device::flex().autodiff();
        let random = burn::tensor::Distribution::Default;
        let images = Tensor::<4>::random([3, 2, h, w], random, &device);
        for step in 0..20 {
            let warps: Vec<Warp> = (0..3)
                .map(|i| {
                    let own = &mut seed::rng(step, &("own", i));
                    Warp::draw(&standard(), [h, w], &mut seed::rng(step, &"common"), own)
                })
                .collect();
            let [one, many] = [true, false].map(|one| {
                let x = images.clone().require_grad();
                let y = if one { Warp::apply(&warps, x.clone()) } else { Warp::gather(&warps, x.clone()) };
                let gradients = (y.clone() * y.clone().cos()).sum().backward();
                (y.without_autodiff(), x.grad(&gradients).unwrap())
            });
            for (a, b) in [(one.0, many.0), (one.1, many.1)] {
                assert_eq!(a.dims(), b.dims());
                assert!((a - b).abs().max().into_scalar::<f32>() < 1e-5);
            }
        }
    }
}
