//! *Scenes*: procedurally drawn photographs-in-miniature, 64 px, twelve classes, deterministic in the seed.
//!
//! Each has what makes photographs photographs: a background with a 1/f amplitude spectrum, textured surfaces that
//! occlude one another, shading and cast shadow, objects in random pose and scale, vignetting and sensor noise.
//! A class is the shape of the largest object. Its texture and colour lean towards what is typical of the class, which
//! other classes share; surfaces and small objects around it are as colourful and as patterned. What every pixel shows
//! is kept.

mod noise;
mod shape;
mod texture;

use image::{Rgb, RgbImage};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::{Class, Dataset, Preprocessing, Sample};
use crate::seed;
use noise::Noise;
use shape::{Pose, Shape};
use texture::{Colour, Pattern, Texture};

/// Side of a scene in pixels.
pub const SIDE: usize = 64;

/// The names of the twelve classes; a class's object is the shape of that name.
pub const CLASSES: [&str; 12] = [
    "ball",
    "box",
    "cone",
    "ring",
    "star",
    "cross",
    "crescent",
    "pillar",
    "gear",
    "leaf",
    "heart",
    "hourglass",
];

/// How often an object has its class's own texture, and its own colour, where nothing else is said.
pub const TYPICAL: f64 = 0.4;

/// What each pixel of a scene shows, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Concepts {
    /// 0 for the background, 1 + class for an object, 13 for any other surface.
    pub object: Vec<u8>,
    /// Index into [`TEXTURES`].
    pub texture: Vec<u8>,
    /// Index into [`COLOURS`].
    pub colour: Vec<u8>,
}

/// The names of the textures that [`Concepts::texture`] counts.
pub const TEXTURES: [&str; 7] = Pattern::NAMES;

/// The names of the colours that [`Concepts::colour`] counts.
pub const COLOURS: [&str; 8] = Colour::NAMES;

/// One scene.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// Index into [`CLASSES`].
    pub class: usize,
    /// 64 x 64 pixels.
    pub image: RgbImage,
    /// What each pixel shows.
    pub concepts: Concepts,
}

/// A flat or domed thing in the picture.
struct Surface {
    shape: Shape,
    pose: Pose,
    texture: Texture,
    object: u8,
    /// How round it looks under the light, 0 (flat) to 1.
    relief: f32,
}

impl Scene {
    /// The `index`-th scene of a split; its class is `index` mod 12. The object has the texture that is typical of its
    /// class with probability `typical`, and otherwise any; the same goes for its colour.
    pub fn draw(split: &str, index: usize, typical: f64, seed: u64) -> Self {
        let mut rng = seed::rng(seed, &("scene", split, index));
        let class = index % CLASSES.len();
        let scale = rng.random_range(0.55..0.8);
        let room = 1.1 - scale;
        let place = [(); 2].map(|()| rng.random_range(-room..room));
        let object = object(class, place, scale, typical, &mut rng);
        let mut surfaces: Vec<Surface> =
            (0..rng.random_range(1..=2)).map(|_| clutter(&mut rng, None)).collect();
        surfaces.extend(distractor(class, place, scale, typical, &mut rng));
        surfaces.push(object);
        if rng.random_bool(0.35) {
            surfaces.push(clutter(&mut rng, Some((place[0], place[1], scale))));
        }
        render(class, &surfaces, &mut rng)
    }
}

/// How far an object may be turned from upright, in radians: things stand on the ground.
const TILT: f32 = 0.45;

/// How often a small object of another class stands beside the large one.
const DISTRACTED: f64 = 0.5;

/// An object of a class.
fn object(class: usize, [x, y]: [f32; 2], scale: f32, typical: f64, rng: &mut ChaCha8Rng) -> Surface {
    let lean = |rng: &mut ChaCha8Rng| rng.random_bool(typical);
    let pattern = if lean(rng) { Pattern::typical(class) } else { Pattern::any(rng) };
    let colour = if lean(rng) { Colour::typical(class) } else { Colour::any(rng) };
    Surface {
        shape: Shape::of_class(class),
        pose: Pose::new(x, y, scale, rng.random_range(0.85..1.18), rng.random_range(-TILT..TILT)),
        texture: Texture::new(pattern, colour, rng),
        object: 1 + class as u8,
        relief: rng.random_range(0.6..1.0),
    }
}

/// A small object of another class, where there is room for one beside the large one at (x, y).
fn distractor(
    class: usize,
    [x, y]: [f32; 2],
    scale: f32,
    typical: f64,
    rng: &mut ChaCha8Rng,
) -> Option<Surface> {
    let wanted = rng.random_bool(DISTRACTED);
    let other = (class + rng.random_range(1..CLASSES.len())) % CLASSES.len();
    let size = rng.random_range(0.18..0.28f32);
    // The first of some places that is far enough.
    let places = (0..8).map(|_| [(); 2].map(|()| rng.random_range(size - 1.0..1.0 - size)));
    let place = places.collect::<Vec<_>>().into_iter().find(|p| (p[0] - x).hypot(p[1] - y) > scale + size);
    let other = object(other, place.unwrap_or_default(), size, typical, rng);
    (wanted && place.is_some()).then_some(other)
}

/// Some other surface: behind everything, or in front of the rim of an object at (x, y).
fn clutter(rng: &mut ChaCha8Rng, in_front_of: Option<(f32, f32, f32)>) -> Surface {
    let shape = match in_front_of {
        None if rng.random_bool(0.4) => Shape::Board,
        _ => Shape::blob(rng),
    };
    let (x, y, scale) = match in_front_of {
        // Its edge reaches a little way into the object.
        Some((x, y, object)) => {
            let scale = rng.random_range(0.2..0.4);
            let distance = object * rng.random_range(0.75..1.0) + scale;
            let direction = rng.random_range(0.0..std::f32::consts::TAU);
            (x + distance * direction.cos(), y + distance * direction.sin(), scale)
        }
        None => (rng.random_range(-1.1..1.1), rng.random_range(-1.1..1.1), rng.random_range(0.35..0.9)),
    };
    Surface {
        shape,
        pose: Pose::new(
            x,
            y,
            scale,
            rng.random_range(0.6..1.6),
            rng.random_range(0.0..std::f32::consts::TAU),
        ),
        texture: Texture::new(Pattern::any(rng), Colour::any(rng), rng),
        object: 1 + CLASSES.len() as u8,
        relief: rng.random_range(0.0..0.5),
    }
}

/// The top-1 accuracy of a Bayes classifier that knows an object's texture and colour and nothing else: the share of
/// objects whose class is the most likely one, given both.
pub fn surface_accuracy(typical: f64) -> f64 {
    let classes = 0..CLASSES.len();
    let pairs = Pattern::SURFACES.into_iter().flat_map(|p| Colour::ALL.into_iter().map(move |c| (p, c)));
    let most = pairs.map(|(pattern, colour)| {
        let shares =
            classes.clone().map(|class| pattern.share(class, typical) * colour.share(class, typical));
        shares.fold(0.0, f64::max)
    });
    most.sum::<f64>() / CLASSES.len() as f64
}

/// Paints the surfaces over the background, back to front, under one light.
fn render(class: usize, surfaces: &[Surface], rng: &mut ChaCha8Rng) -> Scene {
    let direction: f32 = rng.random_range(0.0..std::f32::consts::TAU);
    let elevation: f32 = rng.random_range(0.5..1.1);
    let light = [direction.cos() * elevation.cos(), direction.sin() * elevation.cos(), elevation.sin()];
    let backdrop = Texture::new(Pattern::Cloudy, Colour::any(rng), rng);
    let ramp = [rng.random_range(-0.15..0.15), rng.random_range(-0.15f32..0.15)];
    let grain = Noise::new(rng);
    let vignette = rng.random_range(0.0..0.25);
    let pixel = 2.0 / SIDE as f32;

    let mut pixels = Vec::with_capacity(SIDE * SIDE);
    let n = SIDE * SIDE;
    let mut concepts = Concepts {
        object: Vec::with_capacity(n),
        texture: Vec::with_capacity(n),
        colour: Vec::with_capacity(n),
    };
    for row in 0..SIDE {
        for column in 0..SIDE {
            // The picture spans -1..1 in both directions.
            let x = (column as f32 + 0.5) * pixel - 1.0;
            let y = (row as f32 + 0.5) * pixel - 1.0;
            let mut rgb = backdrop.at(x, y).map(|v| v * (1.0 + ramp[0] * x + ramp[1] * y));
            let mut shows = (0, backdrop.pattern as u8, backdrop.colour as u8);
            for surface in surfaces {
                let (u, v) = surface.pose.local(x, y);
                // Neither it nor its shadow reaches this far.
                if u.hypot(v) * surface.pose.scale > 1.5 && !matches!(surface.shape, Shape::Board) {
                    continue;
                }
                let distance = surface.shape.distance(u, v) * surface.pose.scale;
                let cover = (0.5 - distance / pixel).clamp(0.0, 1.0);
                if cover < 1.0 {
                    let (su, sv) = surface.pose.local(x - 0.12 * light[0], y - 0.12 * light[1]);
                    let shadow = surface.shape.distance(su, sv) * surface.pose.scale;
                    let dark = 0.45 * smooth(0.06, -0.06, shadow) * (0.4 + 0.6 * surface.relief);
                    rgb = rgb.map(|c| c * (1.0 - dark));
                }
                if cover > 0.0 {
                    let normal = surface.normal(u, v);
                    let lambert = (0..3).map(|i| normal[i] * light[i]).sum::<f32>().max(0.0);
                    let shade = 0.35 + 0.75 * lambert;
                    let own = surface.texture.at(u * surface.pose.scale, v * surface.pose.scale);
                    for c in 0..3 {
                        rgb[c] = (1.0 - cover) * rgb[c] + cover * own[c] * shade;
                    }
                }
                if cover >= 0.5 {
                    shows = (surface.object, surface.texture.pattern as u8, surface.texture.colour as u8);
                }
            }
            let dim = 1.0 - vignette * (x * x + y * y) / 2.0;
            pixels.push(Rgb(std::array::from_fn(|c| {
                let sensor = 0.015 * grain.white(column, row, c);
                ((rgb[c] * dim + sensor).clamp(0.0, 1.0) * 255.0).round() as u8
            })));
            concepts.object.push(shows.0);
            concepts.texture.push(shows.1);
            concepts.colour.push(shows.2);
        }
    }
    Scene {
        class,
        image: RgbImage::from_fn(SIDE as u32, SIDE as u32, |x, y| pixels[y as usize * SIDE + x as usize]),
        concepts,
    }
}

impl Surface {
    /// The normal of the domed surface at a point in its own coordinates, in the picture's coordinates.
    fn normal(&self, u: f32, v: f32) -> [f32; 3] {
        let height = |u, v| {
            let depth = (-self.shape.distance(u, v)).max(0.0) / self.shape.thickness();
            (1.0 - (1.0 - depth.min(1.0)).powi(2)).max(0.0).sqrt() * self.shape.thickness()
        };
        let e = 0.03;
        let du = (height(u + e, v) - height(u - e, v)) / (2.0 * e) * self.relief;
        let dv = (height(u, v + e) - height(u, v - e)) / (2.0 * e) * self.relief;
        let (sin, cos) = self.pose.turn;
        let (nx, ny) = (-(du * cos - dv * sin), -(du * sin + dv * cos));
        let length = (nx * nx + ny * ny + 1.0).sqrt();
        [nx / length, ny / length, 1.0 / length]
    }
}

/// 0 at `from`, 1 at `to`, smooth between.
fn smooth(from: f32, to: f32, x: f32) -> f32 {
    let t = ((x - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// The first `images` scenes of a split as a data set; `typical` as for [`Scene::draw`].
pub fn dataset(
    split: &str,
    images: usize,
    typical: f64,
    preprocessing: &Preprocessing,
    seed: u64,
) -> Dataset {
    Dataset {
        name: format!("scenes/{split}"),
        classes: CLASSES
            .iter()
            .enumerate()
            .take(images)
            .map(|(index, name)| Class { index, name: name.to_string() })
            .collect(),
        samples: (0..images)
            .into_par_iter()
            .map(|i| {
                let scene = Scene::draw(split, i, typical, seed);
                Sample {
                    id: format!("scenes/{split}:{i}"),
                    label: scene.class,
                    image: preprocessing.fit(scene.image).expect("a scene is small"),
                }
            })
            .collect(),
        skipped: vec![],
        notes: vec![],
        fingerprint: String::new(),
        surface_accuracy: Some(surface_accuracy(typical)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_the_scene() {
        assert_eq!(Scene::draw("a", 3, TYPICAL, 1), Scene::draw("a", 3, TYPICAL, 1));
        assert_ne!(Scene::draw("a", 3, TYPICAL, 1).image, Scene::draw("a", 3, TYPICAL, 2).image);
        assert_ne!(Scene::draw("a", 3, TYPICAL, 1).image, Scene::draw("b", 3, TYPICAL, 1).image);
    }

    #[test]
    fn every_scene_shows_its_object_and_little_hides_it() {
        for i in 0..200 {
            let scene = Scene::draw("train", i, TYPICAL, 0);
            let object = 1 + scene.class as u8;
            let area = scene.concepts.object.iter().filter(|&&o| o == object).count();
            assert!(area > 100, "scene {i} ({}) shows {area} px", CLASSES[scene.class]);
            let others = scene.concepts.object.iter().filter(|&&o| (1..=12).contains(&o) && o != object);
            assert!(others.count() < area, "scene {i} ({}) shows more of another", CLASSES[scene.class]);
        }
    }

    /// Against a Bayes classifier that learned from scenes what their objects are covered with.
    #[test]
    fn texture_and_colour_say_little_of_the_class() {
        for (typical, least, most) in [(0.0, 0.08, 0.09), (TYPICAL, 0.3, 0.4), (1.0, 1.0, 1.0)] {
            let exact = surface_accuracy(typical);
            assert!((least..=most).contains(&exact), "{typical}: {exact}");
            let mut rng = seed::rng(1, &"objects");
            let mut counts = std::collections::HashMap::<_, [usize; 12]>::new();
            let each = 4000;
            for class in 0..CLASSES.len() {
                for _ in 0..each {
                    let Surface { texture, .. } = object(class, [0.0; 2], 0.5, typical, &mut rng);
                    counts.entry((texture.pattern as u8, texture.colour as u8)).or_default()[class] += 1;
                }
            }
            let right: usize = counts.values().map(|of| *of.iter().max().unwrap()).sum();
            let learned = right as f64 / (each * CLASSES.len()) as f64;
            assert!((learned - exact).abs() < 0.02, "{typical}: {learned} {exact}");
        }
    }

    /// Amplitude falls as 1/f^a with a near 1 in photographs (Field, 1987; a between 0.8 and 1.5).
    #[test]
    fn the_amplitude_spectrum_falls_as_in_photographs() {
        let mut amplitude = [0f64; 4];
        // Frequencies an octave apart, along rows and columns.
        let octaves = [2usize, 4, 8, 16];
        for i in 0..100 {
            let scene = Scene::draw("train", i, TYPICAL, 0);
            let grey = |x: usize, y: usize| {
                let p = scene.image.get_pixel(x as u32, y as u32).0;
                p.iter().map(|&v| f64::from(v)).sum::<f64>()
            };
            // A Hann window, so that the borders don't count as edges.
            let window =
                |x: usize| 0.5 - 0.5 * (std::f64::consts::TAU * (x as f64 + 0.5) / SIDE as f64).cos();
            for (k, &f) in octaves.iter().enumerate() {
                for line in (0..SIDE).step_by(4) {
                    for across in [false, true] {
                        let at = |t| if across { grey(t, line) } else { grey(line, t) };
                        let mean = (0..SIDE).map(at).sum::<f64>() / SIDE as f64;
                        let (mut re, mut im) = (0.0, 0.0);
                        for t in 0..SIDE {
                            let phase = std::f64::consts::TAU * (f * t) as f64 / SIDE as f64;
                            re += (at(t) - mean) * window(t) * phase.cos();
                            im += (at(t) - mean) * window(t) * phase.sin();
                        }
                        amplitude[k] += re.hypot(im);
                    }
                }
            }
        }
        let slope = (amplitude[3] / amplitude[0]).log2() / 3.0;
        assert!((-1.5..=-0.8).contains(&slope), "slope {slope}");
    }
}
