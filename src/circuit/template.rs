//! A unit that draws a picture: a template-matching filter (Geirhos et al., 2024, section 2.1, "arbitrary images").

use burn::tensor::TensorData;
use image::{RgbImage, imageops};

use crate::data::Preprocessing;
use crate::error::Result;
use crate::network::{INPUT, Insertion, Op, op};

/// A filter of the picture's size alone would be maximized by an image of nothing but black and white. So what is
/// maximized is ⟨T, x⟩ − ½‖x‖², which is largest where the image x is the picture T; the square is a sum of ReLUs, one a
/// grey level. With pixels u in 0..1:
///
/// ```text
/// Q(x) = max over shifts Σ T·u  −  Σ φ(u),   φ(u) = Σ_j relu(u − θ_j) / J,   θ_j = (j − ½) / J
/// ```
///
/// The first sum runs over a picture shrunk to at most `SIDE` pixels, the second over all pixels, so that nothing is
/// gained by what the shrunk picture doesn't show. Q is scaled so that plain grey gives 0 and the picture `peak`.
#[derive(Clone, Debug)]
pub struct Template {
    /// Side of the blocks that are averaged.
    shrink: usize,
    /// Side of the template in blocks.
    side: usize,
    /// `[C, side, side]` in 0..1, of the network's channels.
    picture: Vec<f32>,
    /// The network's value of a black pixel and of white minus black, by channel.
    black: Vec<f32>,
    span: Vec<f32>,
    /// What Q is multiplied with, and the Q of plain grey.
    gain: f32,
    grey: f32,
    low: f32,
    high: f32,
}

/// The most blocks on a side.
const SIDE: usize = 48;

/// The template may be shifted beyond the image's border by this part of its side.
const MARGIN: usize = 8;

/// J, the number of grey levels.
const LEVELS: usize = 12;

fn threshold(level: usize) -> f32 {
    (level as f32 + 0.5) / LEVELS as f32
}

/// φ, close to u²/2.
fn square(u: f32) -> f32 {
    (0..LEVELS).map(|j| (u - threshold(j)).max(0.0)).sum::<f32>() / LEVELS as f32
}

impl Template {
    /// A template for images of `size` pixels, with the activation `peak` where the image is the picture.
    pub fn new(picture: &RgbImage, size: usize, preprocessing: &Preprocessing, peak: f32) -> Self {
        let shrink = size.div_ceil(SIDE);
        let side = size / shrink;
        let small = imageops::resize(picture, side as u32, side as u32, imageops::FilterType::Triangle);
        let mix = preprocessing.channel_order.mix();
        let channel = |mix: &[f32; 3]| -> Vec<f32> {
            let of = |p: &image::Rgb<u8>| (0..3).map(|c| mix[c] * f32::from(p.0[c])).sum::<f32>() / 255.0;
            small.pixels().map(of).collect()
        };
        let picture: Vec<f32> = mix.iter().flat_map(channel).collect();
        let Preprocessing { scale, mean, std, .. } = preprocessing;
        let sum = |value: &dyn Fn(f32) -> f32| picture.iter().map(|&t| value(t)).sum::<f32>();
        let grey = sum(&|t| t * 0.5 - square(0.5));
        // φ has a kink at each threshold; the best u is at one of them, or at an end.
        let best = |t: f32| {
            (0..LEVELS).map(threshold).chain([0.0, 1.0]).map(|u| t * u - square(u)).fold(f32::MIN, f32::max)
        };
        let gain = peak / (sum(&best) - grey).max(f32::EPSILON);
        // Q is concave, so that its least value is at a corner.
        let low = gain * (sum(&|t| (t - square(1.0)).min(0.0)) - grey);
        Self {
            shrink,
            side,
            picture,
            black: (0..mix.len()).map(|c| -mean[c] / std[c]).collect(),
            span: (0..mix.len()).map(|c| scale / std[c]).collect(),
            gain,
            grey,
            low,
            high: peak,
        }
    }

    /// The side in pixels of the smallest image that the template can be laid over.
    pub fn smallest(&self) -> usize {
        (self.side - 2 * (self.side / MARGIN)) * self.shrink
    }

    /// The least activation that an image can have.
    pub fn low(&self) -> f32 {
        self.low
    }

    /// The largest.
    pub fn high(&self) -> f32 {
        self.high
    }

    /// Puts the template in; gives the name of its layer, `[N, 1, 1, 1]`.
    ///
    /// # Errors
    /// Failure, if it does not fit the graph.
    pub fn insert(&self, insert: &mut Insertion<'_>, prefix: &str) -> Result<String> {
        let Self { shrink, side, black, span, gain, .. } = self;
        let (shrink, side, gain) = (*shrink, *side, *gain);
        let n = black.len();
        let name = |part: &str| format!("{prefix}.{part}");
        let mut input = INPUT.to_string();
        if shrink > 1 {
            let area = shrink * shrink;
            let mut mean = vec![0f32; n * n * area];
            (0..n).for_each(|c| mean[(n + 1) * c * area..][..area].fill(1.0 / area as f32));
            let weight = TensorData::new(mean, [n, n, shrink, shrink]);
            let bias = TensorData::new(vec![0f32; n], [n]);
            insert.filters(name("shrunk"), Op::conv(n, n, shrink, shrink, 0), vec![input], weight, bias)?;
            input = name("shrunk");
        }

        // The template. u = (z − black) / span for the network's value z.
        let area = side * side;
        let weight: Vec<f32> =
            self.picture.iter().enumerate().map(|(i, t)| gain * t / span[i / area]).collect();
        let constant: f32 =
            self.picture.iter().enumerate().map(|(i, t)| t * black[i / area] / span[i / area]).sum();
        insert.filters(
            name("match"),
            Op::conv(n, 1, side, 1, side / MARGIN),
            vec![input],
            TensorData::new(weight, [1, n, side, side]),
            TensorData::new(vec![-gain * (constant + self.grey)], [1]),
        )?;
        insert.plain(name("best"), op::GlobalMaxPool, &[name("match")])?;

        // −φ, in units of the shrunk picture's pixels.
        let mut weight = vec![0f32; n * n * LEVELS];
        let mut bias = vec![0f32; n * LEVELS];
        for c in 0..n {
            for j in 0..LEVELS {
                weight[(c * LEVELS + j) * n + c] = 1.0 / span[c];
                bias[c * LEVELS + j] = -black[c] / span[c] - threshold(j);
            }
        }
        insert.filters(
            name("levels.margin"),
            Op::conv(n, n * LEVELS, 1, 1, 0),
            vec![INPUT.into()],
            TensorData::new(weight, [n * LEVELS, n, 1, 1]),
            TensorData::new(bias, [n * LEVELS]),
        )?;
        insert.plain(name("levels"), op::Relu, &[name("levels.margin")])?;
        let share = -gain * area as f32 / LEVELS as f32;
        insert.filters(
            name("square.map"),
            Op::conv(n * LEVELS, 1, 1, 1, 0),
            vec![name("levels")],
            TensorData::new(vec![share; n * LEVELS], [1, n * LEVELS, 1, 1]),
            TensorData::new(vec![0f32], [1]),
        )?;
        insert.plain(name("square"), op::GlobalAvgPool, &[name("square.map")])?;
        insert.plain(name("drawn"), op::Add, &[name("best"), name("square")])?;
        Ok(name("drawn"))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use image::Rgb;

    use super::*;
    use crate::network::{Graph, Network};
    use crate::seed;

    fn activation(template: &Template, image: &RgbImage, preprocessing: &Preprocessing) -> f32 {
        let mut g = Graph::new("picture", 3);
        g.then("end", op::Relu);
        let device = Device::default();
        let mut network = Network::new(g, &mut seed::rng(0, &0), &device).unwrap();
        let layer = template.insert(&mut network.insert_before("end").unwrap(), "p").unwrap();
        let input = preprocessing.apply(Preprocessing::tensor([image], &device));
        network.capture(input, &[layer]).unwrap().remove(0).into_scalar()
    }

    /// The picture gives the peak, grey nothing, everything else less; whatever the preprocessing.
    #[test]
    fn nothing_drives_it_as_the_picture_does() {
        let picture = RgbImage::from_fn(96, 96, |x, y| {
            Rgb([(x * 255 / 95) as u8, if y < 48 { 30 } else { 220 }, ((x + y) * 255 / 190) as u8])
        });
        let rgb: Preprocessing =
            toml::from_str("mean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]").unwrap();
        let bgr: Preprocessing =
            toml::from_str("channel_order = \"bgr\"\nscale = 255.0\nmean = [104.0, 117.0, 123.0]").unwrap();
        for preprocessing in [rgb, bgr] {
            let template = Template::new(&picture, 96, &preprocessing, 20.0);
            let of = |image: &RgbImage| activation(&template, image, &preprocessing);
            let peak = of(&picture);
            assert!((peak - 20.0).abs() < 0.5, "{peak}");
            let grey = of(&RgbImage::from_pixel(96, 96, Rgb([128; 3])));
            assert!(grey.abs() < 0.5, "{grey}");
            let mut saturated = picture.clone();
            saturated.pixels_mut().for_each(|p| p.0 = p.0.map(|v| if v < 128 { 0 } else { 255 }));
            let mut swapped = picture.clone();
            swapped.pixels_mut().for_each(|p| p.0.swap(0, 2));
            let mut negative = picture.clone();
            imageops::invert(&mut negative);
            for other in [saturated, swapped, negative] {
                let value = of(&other);
                assert!(value < peak && value > template.low() && value < template.high(), "{value}");
            }
        }
    }
}
