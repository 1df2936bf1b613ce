//! The causal occlusion task (Zimmermann et al., NeurIPS 2021): which of two occlusions lowers a unit's activation more.

use std::collections::BTreeMap;

use image::{Rgb, RgbImage, imageops};

use super::plan::References;
use super::settings::Pairs;
use super::units::Drawn;
use super::work::{Work, rows};
use crate::error::Result;
use crate::progress::{self, Progress};

/// The occluder's colour.
const GREY: Rgb<u8> = Rgb([128; 3]);

/// A square: left and upper border, and side, in pixels.
pub(super) type Place = [u32; 3];

/// A query and the natural images that go with it, as positions among all.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Batch {
    pub query: usize,
    pub references: Vec<usize>,
}

/// What sliding the occluder over a query found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Extremes {
    pub side: f64,
    pub unoccluded: f32,
    /// Where the activation is lower and higher, of the two places that are compared.
    pub places: [Place; 2],
    pub activations: [f32; 2],
}

/// Deals a unit's most activating images to batches: the `batches` most activating ones are the queries, and the next
/// are dealt in turn, so that all batches have references that activate about equally.
pub(super) fn batches(unit: &Drawn, batches: usize, references: usize) -> Vec<Batch> {
    (0..batches)
        .map(|b| Batch {
            query: unit.most[b],
            references: (1..=references).map(|r| unit.most[r * batches + b]).collect(),
        })
        .collect()
}

/// The places of an occluder: a grid from border to border, the same from either.
pub(super) fn places(image: u32, side: f64, along: usize) -> Vec<Place> {
    let square = ((f64::from(image) * side).round() as u32).clamp(1, image);
    let step = f64::from(image - square) / (along - 1) as f64;
    let from_border = |i: usize| (step * i as f64).round() as u32;
    let at = |i: usize| match 2 * i < along {
        true => from_border(i),
        false => image - square - from_border(along - 1 - i),
    };
    (0..along * along).map(|i| [at(i % along), at(i / along), square]).collect()
}

/// The places of a grid that may be compared with one another.
fn comparable(pairs: Pairs, along: usize) -> Vec<Vec<usize>> {
    // Twice the distance from the grid's middle along either axis.
    let off = |i: usize| (2 * i).abs_diff(along - 1).pow(2);
    let ring = |i: usize| match pairs {
        Pairs::Any => 0,
        Pairs::SameDistance => off(i % along) + off(i / along),
    };
    let mut rings: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    (0..along * along).for_each(|i| rings.entry(ring(i)).or_default().push(i));
    rings.into_values().filter(|places| places.len() > 1).collect()
}

/// The places where the activation is lowest and highest among those that may be compared: of all such pairs, the one whose
/// activations differ most.
fn extremes(values: &[f32], comparable: &[Vec<usize>]) -> [usize; 2] {
    let by = |a: &usize, b: &usize| values[*a].total_cmp(&values[*b]).then(a.cmp(b));
    let pairs = comparable.iter().filter_map(|places| {
        let lowest = places.iter().copied().min_by(by)?;
        Some([lowest, places.iter().copied().max_by(by)?])
    });
    let apart = |[low, high]: [usize; 2]| values[high] - values[low];
    pairs.reduce(|best, pair| if apart(pair) > apart(best) { pair } else { best }).unwrap_or_default()
}

/// The image with a grey square.
pub(super) fn occlude(image: &RgbImage, [x, y, side]: Place) -> RgbImage {
    let mut occluded = image.clone();
    for (dx, dy) in (0..side).flat_map(|dy| (0..side).map(move |dx| (dx, dy))) {
        occluded.put_pixel(x + dx, y + dy, GREY);
    }
    occluded
}

/// Slides the occluder over the queries of each unit.
pub(super) fn slide(work: &Work, drawn: &[&Drawn]) -> Result<Vec<Vec<Extremes>>> {
    let settings = &work.study.settings.occlusion;
    let bar = progress::bar("sliding occluders", drawn.len() * settings.batches);
    let comparable = comparable(settings.pairs, settings.places);
    let mut all = vec![];
    for unit in drawn {
        let grids: Vec<Vec<Place>> =
            settings.sides.iter().map(|&side| places(work.side(), side, settings.places)).collect();
        let of = (work.of(), &unit.unit, grids, &unit.most[..settings.batches]);
        // For each batch the activation without an occluder, and then with one at each place.
        let found: Vec<Vec<f32>> = work.setting.cache.json("occlusions", &of, || {
            let executor = &work.setting.executor;
            let jobs: Vec<(usize, usize)> =
                unit.most[..settings.batches].iter().copied().enumerate().collect();
            executor.run(&jobs, 1, &Progress::hidden(), |job| {
                let (batch, query) = job[0];
                Ok(vec![activations(work, unit, batch, &work.natural[query].1)?])
            })
        })?;
        bar.advance(settings.batches as u64);
        let side = |batch: usize| settings.sides[batch % settings.sides.len()];
        let of_batch = |(batch, values): (usize, Vec<f32>)| {
            let places = places(work.side(), side(batch), settings.places);
            let [low, high] = extremes(&values[1..], &comparable);
            Extremes {
                side: side(batch),
                unoccluded: values[0],
                places: [low, high].map(|place| places[place]),
                activations: [low, high].map(|place| values[1 + place]),
            }
        };
        all.push(found.into_iter().enumerate().map(of_batch).collect());
    }
    bar.end();
    Ok(all)
}

/// The activation of a unit for an image, and for it with the batch's occluder at each place.
fn activations(work: &Work, unit: &Drawn, batch: usize, image: &RgbImage) -> Result<Vec<f32>> {
    let settings = &work.study.settings.occlusion;
    let side = settings.sides[batch % settings.sides.len()];
    let mut values = vec![];
    let occluded = places(work.side(), side, settings.places).into_iter().map(|p| occlude(image, p));
    let images: Vec<RgbImage> = std::iter::once(image.clone()).chain(occluded).collect();
    let reading = work.study.experiment.visualization.focus.on(&work.network, &unit.unit.layer)?;
    // A worker's share, so it must not start workers of its own.
    let size = work.setting.executor.batch(image.height() as usize, image.width() as usize);
    for chunk in images.chunks(size) {
        let input = crate::data::Preprocessing::tensor(chunk, work.setting.executor.device());
        let input = work.study.experiment.preprocessing.apply(input);
        let map = work.network.capture(input, &[&unit.unit.layer])?.remove(0);
        values.extend(rows(reading.of(map)).into_iter().map(|row| row[unit.unit.channel]));
    }
    Ok(values)
}

/// Natural images blurred but for the patch that activates the unit most: the square in which the unit's map has the
/// largest mean.
pub(super) fn blurred(
    work: &Work,
    unit: &Drawn,
    images: &[&RgbImage],
    bar: &Progress,
) -> Result<Vec<RgbImage>> {
    let side = work.study.settings.occlusion.patch;
    let patches = work.forward(&work.network, &[&unit.unit.layer], images, bar, |mut maps| {
        let map = maps.remove(0);
        let [_, _, h, w] = map.dims();
        rows(map.narrow(1, unit.unit.channel, 1)).iter().map(|row| patch(row, h, w, side)).collect()
    })?;
    let keep = |(image, [y, x]): (&&RgbImage, [f64; 2])| keep_sharp(image, y, x, side);
    Ok(images.iter().zip(patches).map(keep).collect())
}

/// Where the square of this side, relative to the map's, with the largest mean begins: y and x relative to the map's.
fn patch(map: &[f32], h: usize, w: usize, side: f64) -> [f64; 2] {
    let size = |n: usize| ((n as f64 * side).round() as usize).clamp(1, n);
    let (ph, pw) = (size(h), size(w));
    let mean = |y: usize, x: usize| -> f64 {
        (y..y + ph).map(|r| map[r * w + x..][..pw].iter().map(|&v| f64::from(v)).sum::<f64>()).sum()
    };
    let (y, x) = (0..=h - ph)
        .flat_map(|y| (0..=w - pw).map(move |x| (y, x)))
        .max_by(|a, b| mean(a.0, a.1).total_cmp(&mean(b.0, b.1)).then(b.cmp(a)))
        .unwrap_or((0, 0));
    // The patch's middle, as far from the borders as the square's own side asks.
    let begin = |at: usize, patch: usize, n: usize| {
        ((at as f64 + patch as f64 / 2.0) / n as f64 - side / 2.0).clamp(0.0, 1.0 - side)
    };
    [begin(y, ph, h), begin(x, pw, w)]
}

/// Blurs all but a square.
fn keep_sharp(image: &RgbImage, y: f64, x: f64, side: f64) -> RgbImage {
    let n = f64::from(image.width());
    let mut blurred = imageops::fast_blur(image, image.width() as f32 / 16.0);
    let [x, y, side] = [x, y, side].map(|v| (v * n).round() as u32);
    let patch = imageops::crop_imm(image, x, y, side, side).to_image();
    imageops::replace(&mut blurred, &patch, i64::from(x), i64::from(y));
    blurred
}

/// How many of a trial's references are visualizations.
pub(super) fn visualizations(kind: References, references: usize) -> usize {
    match kind {
        References::Visualizations => references,
        References::Mixed => references.div_ceil(2),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::visualize::Unit;

    #[test]
    fn places_go_from_border_to_border() {
        let got = places(10, 0.4, 3);
        assert_eq!(got.len(), 9);
        assert_eq!((got[0], got[1], got[2], got[8]), ([0, 0, 4], [3, 0, 4], [6, 0, 4], [6, 6, 4]));
    }

    #[test]
    fn compared_places_are_as_far_from_the_middle_as_each_other() {
        for (image, side, along) in [(64, 0.3, 5), (128, 0.4, 6), (99, 0.5, 2)] {
            let places = places(image, side, along);
            let off = |at: u32, side: u32| (2 * at + side).abs_diff(image).pow(2);
            let distance = |place: usize| {
                let [x, y, side] = places[place];
                off(x, side) + off(y, side)
            };
            let comparable = comparable(Pairs::SameDistance, along);
            for ring in &comparable {
                assert!(ring.iter().all(|&place| distance(place) == distance(ring[0])), "{ring:?}");
            }
            // All but the one in the middle, where there is one.
            assert_eq!(comparable.concat().len(), along * along - along % 2);
        }
        assert_eq!(comparable(Pairs::Any, 2), [[0, 1, 2, 3]]);
    }

    #[test]
    fn the_pair_whose_activations_differ_most() {
        // A 3x3 grid: corners 4 apart, edges 5, and the middle lowest of all.
        let values = [1.0, 3.0, 5.0, 6.0, -9.0, 4.0, 2.0, 8.0, 1.0];
        assert_eq!(extremes(&values, &comparable(Pairs::Any, 3)), [4, 7]);
        assert_eq!(extremes(&values, &comparable(Pairs::SameDistance, 3)), [1, 7]);
    }

    #[test]
    fn an_occluder_covers_its_square_and_nothing_else() {
        let image = RgbImage::from_pixel(4, 4, Rgb([9, 8, 7]));
        let occluded = occlude(&image, [1, 2, 2]);
        for (x, y, pixel) in occluded.enumerate_pixels() {
            let inside = (1..3).contains(&x) && (2..4).contains(&y);
            assert_eq!(*pixel, if inside { GREY } else { Rgb([9, 8, 7]) });
        }
    }

    #[test]
    fn batches_share_no_image_and_activate_alike() {
        let unit = Drawn {
            unit: Unit { layer: "a".into(), channel: 0 },
            depth: String::new(),
            practice: false,
            most: (0..12).collect(),
            activations: vec![],
            deviation: 1.0,
        };
        let got = batches(&unit, 3, 3);
        let mut all: Vec<usize> =
            got.iter().flat_map(|b| b.references.iter().copied().chain([b.query])).collect();
        all.sort_unstable();
        assert_eq!(all, (0..12).collect::<Vec<_>>());
        assert_eq!(got[1], Batch { query: 1, references: vec![4, 7, 10] });
    }

    #[test]
    fn the_sharp_patch_is_where_the_map_is_largest() {
        // A 4x4 map with its peak in the lower right.
        let mut map = [0f32; 16];
        map[10] = 5.0;
        map[15] = 4.0;
        assert_eq!(patch(&map, 4, 4, 0.5), [0.5, 0.5]);
        let image = RgbImage::from_fn(32, 32, |x, y| Rgb([if (x + y) % 2 == 0 { 255 } else { 0 }; 3]));
        let kept = keep_sharp(&image, 0.5, 0.5, 0.5);
        assert!((16..32).all(|i| kept.get_pixel(i, i) == image.get_pixel(i, i)));
        // A fine chequerboard blurs to grey.
        assert!(kept.get_pixel(4, 4).0.iter().all(|v| (100..156).contains(v)));
    }

    #[test]
    fn half_of_a_mix_is_visualizations() {
        assert_eq!(References::ALL.map(|k| visualizations(k, 9)), [0, 9, 0, 5, 0]);
    }
}
