use rand::{Rng, RngExt};

use super::noise::Noise;

/// What a surface is covered with.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u8)]
pub enum Pattern {
    Plain,
    Striped,
    Checked,
    Dotted,
    Ringed,
    Mottled,
    /// The background's own.
    Cloudy,
}

impl Pattern {
    pub const NAMES: [&str; 7] = ["plain", "striped", "checked", "dotted", "ringed", "mottled", "cloudy"];

    pub const SURFACES: [Self; 6] =
        [Self::Plain, Self::Striped, Self::Checked, Self::Dotted, Self::Ringed, Self::Mottled];

    pub fn any(rng: &mut impl Rng) -> Self {
        Self::SURFACES[rng.random_range(0..Self::SURFACES.len())]
    }

    /// What a class's objects are covered with more often than with anything else: four patterns, each of three classes.
    pub fn typical(class: usize) -> Self {
        [Self::Striped, Self::Checked, Self::Dotted, Self::Mottled][class % 4]
    }

    /// How often a class's object has a pattern, where it is the typical one with probability `typical`, and any otherwise.
    pub fn share(self, class: usize, typical: f64) -> f64 {
        if self == Self::Cloudy {
            return 0.0;
        }
        typical * f64::from(u8::from(self == Self::typical(class)))
            + (1.0 - typical) / Self::SURFACES.len() as f64
    }
}

/// A named colour.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u8)]
pub enum Colour {
    Red,
    Orange,
    Yellow,
    Green,
    Cyan,
    Blue,
    Purple,
    Grey,
}

impl Colour {
    pub const NAMES: [&str; 8] = ["red", "orange", "yellow", "green", "cyan", "blue", "purple", "grey"];

    pub const ALL: [Self; 8] = [
        Self::Red,
        Self::Orange,
        Self::Yellow,
        Self::Green,
        Self::Cyan,
        Self::Blue,
        Self::Purple,
        Self::Grey,
    ];

    pub fn any(rng: &mut impl Rng) -> Self {
        Self::ALL[rng.random_range(0..Self::ALL.len())]
    }

    /// The colour that a class's objects have more often than any other: four colours, each of three classes. Together
    /// with the pattern it would tell the class.
    pub fn typical(class: usize) -> Self {
        [Self::Red, Self::Yellow, Self::Green, Self::Blue][class / 3]
    }

    /// How often a class's object has a colour, as [`Pattern::share`].
    pub fn share(self, class: usize, typical: f64) -> f64 {
        typical * f64::from(u8::from(self == Self::typical(class))) + (1.0 - typical) / Self::ALL.len() as f64
    }

    fn rgb(self) -> [f32; 3] {
        match self {
            Self::Red => [0.75, 0.18, 0.15],
            Self::Orange => [0.85, 0.45, 0.12],
            Self::Yellow => [0.85, 0.75, 0.2],
            Self::Green => [0.25, 0.55, 0.2],
            Self::Cyan => [0.2, 0.65, 0.65],
            Self::Blue => [0.2, 0.32, 0.75],
            Self::Purple => [0.55, 0.25, 0.6],
            Self::Grey => [0.55, 0.55, 0.53],
        }
    }
}

/// A pattern in a colour, with its own size, direction and irregularities.
pub struct Texture {
    pub pattern: Pattern,
    pub colour: Colour,
    base: [f32; 3],
    other: [f32; 3],
    frequency: f32,
    /// Sine and cosine of the pattern's direction.
    turn: (f32, f32),
    noise: Noise,
    roughness: f32,
}

impl Texture {
    pub fn new(pattern: Pattern, colour: Colour, rng: &mut impl Rng) -> Self {
        let light: f32 = rng.random_range(0.75..1.2);
        let tint = std::array::from_fn::<f32, 3, _>(|_| rng.random_range(-0.06..0.06));
        let base = colour.rgb();
        let base = std::array::from_fn(|c| (base[c] + tint[c]) * light);
        // The second colour of a pattern: much lighter or much darker than the first.
        let grey: f32 = if base.iter().sum::<f32>() < 1.3 { 0.9 } else { 0.15 };
        let other = std::array::from_fn(|c| 0.35 * base[c] + 0.65 * grey);
        Self {
            pattern,
            colour,
            base,
            other,
            frequency: rng.random_range(2.2..4.2),
            turn: rng.random_range(0.0..std::f32::consts::PI).sin_cos(),
            noise: Noise::new(rng),
            roughness: rng.random_range(0.12..0.3),
        }
    }

    /// The colour at a place, before any light falls on it.
    pub fn at(&self, x: f32, y: f32) -> [f32; 3] {
        let (sin, cos) = self.turn;
        let (u, v) = ((x * cos + y * sin) * self.frequency, (-x * sin + y * cos) * self.frequency);
        let wave = |t: f32| (std::f32::consts::TAU * t).sin();
        let soft = |t: f32| 0.5 + 0.5 * (3.0 * t).tanh();
        let other = match self.pattern {
            Pattern::Plain => 0.0,
            Pattern::Striped => soft(wave(u)),
            Pattern::Checked => soft(3.0 * wave(u * 0.7) * wave(v * 0.7)),
            Pattern::Dotted => {
                let (du, dv) = (u - u.round(), v - v.round());
                soft(6.0 * (0.3 - du.hypot(dv)))
            }
            Pattern::Ringed => soft(wave(u.hypot(v))),
            Pattern::Mottled => soft(2.5 * self.noise.smooth(u * 1.6, v * 1.6)),
            Pattern::Cloudy => 0.5 + 0.5 * self.noise.pink(x * 1.2 + 7.0, y * 1.2 - 3.0),
        };
        let wear = match self.pattern {
            Pattern::Cloudy => 1.0 + 0.7 * self.noise.pink(x * 2.0, y * 2.0),
            _ => 1.0 + self.roughness * self.noise.smooth(x * 9.0, y * 9.0),
        };
        std::array::from_fn(|c| ((1.0 - other) * self.base[c] + other * self.other[c]) * wear)
    }
}
