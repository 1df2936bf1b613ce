//! Answers to occlusion trials that need no references: they look at the occluders alone.

use std::path::Path;

use image::{RgbImage, imageops};

use super::{best, guess, response};
use crate::error::Result;
use crate::interrupt;
use crate::trials::plan::{Answer, Occlusion, Plan, Question, Trial};
use crate::trials::responses::{Kind, Response};
use crate::trials::stimuli;

/// A baseline's name, and how much it thinks an occluder hides.
type Baseline = (&'static str, fn(&RgbImage, [u32; 3]) -> f64);

/// The baselines of Zimmermann et al. Their saliency is that of DeepGaze IIE; this one is contrast with the picture's
/// mean colour (Achanta et al., 2009), which needs no network.
const BASELINES: [Baseline; 3] = [("centre", centre), ("variance", variance), ("saliency", saliency)];

/// Lets the baselines answer the occlusion trials.
pub(super) fn answer(plan: &Plan, trials: &[&Trial], folder: &Path) -> Result<Vec<Response>> {
    let mut all = vec![];
    for trial in trials {
        interrupt::check()?;
        let Question::Occlusion(question) = &trial.question else { continue };
        let image = stimuli::read(folder, &question.original)?;
        for (name, hidden) in BASELINES {
            let answer = judge(question, |place| hidden(&image, place));
            let answer = answer.unwrap_or_else(|tied| guess(plan.seed, name, trial, &tied));
            all.push(response(name, Kind::Model, trial, answer));
        }
    }
    Ok(all)
}

/// The query whose occluder hides more, or both.
fn judge(question: &Occlusion, hidden: impl Fn([u32; 3]) -> f64) -> Result<Answer, Vec<Answer>> {
    best([0, 1].map(|q| (Answer::Query(q), hidden(question.places[q]))).to_vec())
}

/// How near the occluder is to the picture's centre; nothing is as far as can be.
fn centre(image: &RgbImage, [x, y, side]: [u32; 3]) -> f64 {
    if side == 0 {
        return f64::NEG_INFINITY;
    }
    let off = |at: u32, size: u32| f64::from(at) + f64::from(side) / 2.0 - f64::from(size) / 2.0;
    -off(x, image.width()).hypot(off(y, image.height()))
}

/// The variance of the grey levels that the occluder hides.
fn variance(image: &RgbImage, [x, y, side]: [u32; 3]) -> f64 {
    let hidden = imageops::crop_imm(image, x, y, side, side).to_image();
    let grey: Vec<f64> =
        hidden.pixels().map(|p| p.0.iter().map(|&v| f64::from(v)).sum::<f64>() / 3.0).collect();
    let n = grey.len().max(1) as f64;
    let mean = grey.iter().sum::<f64>() / n;
    grey.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n
}

/// The contrast with the picture's mean colour that the occluder hides, over the whole of it.
fn saliency(image: &RgbImage, [x, y, side]: [u32; 3]) -> f64 {
    let smooth = imageops::fast_blur(image, image.width() as f32 / 64.0);
    let n = f64::from(image.width() * image.height()).max(1.0);
    let mut mean = [0.0; 3];
    image.pixels().for_each(|p| (0..3).for_each(|c| mean[c] += f64::from(p.0[c]) / n));
    let contrast =
        |p: &image::Rgb<u8>| (0..3).map(|c| (f64::from(p.0[c]) - mean[c]).powi(2)).sum::<f64>().sqrt();
    imageops::crop_imm(&smooth, x, y, side, side).to_image().pixels().map(contrast).sum()
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn baselines_by_hand() {
        // Grey, with a bright square of stripes in the upper left.
        let image = RgbImage::from_fn(64, 64, |x, y| match x < 24 && y < 24 {
            true => Rgb([if x % 2 == 0 { 255 } else { 155 }, 200, 0]),
            false => Rgb([100; 3]),
        });
        let (corner, middle, far) = ([0, 0, 20], [22, 22, 20], [44, 44, 20]);
        assert!(centre(&image, middle) > centre(&image, corner));
        assert_eq!(centre(&image, corner), centre(&image, far));
        assert!(variance(&image, corner) > variance(&image, middle) && variance(&image, far) == 0.0);
        assert!(saliency(&image, corner) > saliency(&image, far));
        for (_, hidden) in BASELINES {
            assert!(hidden(&image, [0, 0, 0]) < hidden(&image, corner));
        }
    }
}
