use rand::{Rng, RngExt};

/// Where a shape stands in the picture, which spans -1..1.
#[derive(Clone, Copy, Debug)]
pub struct Pose {
    pub x: f32,
    pub y: f32,
    /// Half the shape's size.
    pub scale: f32,
    /// Sine and cosine of the rotation.
    pub turn: (f32, f32),
    /// Width over height, as if seen from the side.
    aspect: f32,
}

impl Pose {
    /// A pose with the given rotation in radians.
    pub fn new(x: f32, y: f32, scale: f32, aspect: f32, angle: f32) -> Self {
        Self { x, y, scale, turn: angle.sin_cos(), aspect }
    }

    /// A point of the picture in the shape's own coordinates, where the shape spans about -1..1.
    pub fn local(&self, x: f32, y: f32) -> (f32, f32) {
        let (sin, cos) = self.turn;
        let (dx, dy) = (x - self.x, y - self.y);
        let (u, v) = (dx * cos + dy * sin, -dx * sin + dy * cos);
        (u / (self.scale * self.aspect), v / (self.scale / self.aspect))
    }
}

/// An outline, given by its signed distance.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    Ball,
    Box,
    Cone,
    Ring,
    Star,
    Cross,
    Crescent,
    Pillar,
    Gear,
    Leaf,
    Heart,
    Hourglass,
    /// A wobbly disc: stones, bushes.
    Blob {
        lobes: f32,
        depth: f32,
    },
    /// A strip without ends: boards, poles.
    Board,
}

impl Shape {
    pub fn of_class(class: usize) -> Self {
        [
            Self::Ball,
            Self::Box,
            Self::Cone,
            Self::Ring,
            Self::Star,
            Self::Cross,
            Self::Crescent,
            Self::Pillar,
            Self::Gear,
            Self::Leaf,
            Self::Heart,
            Self::Hourglass,
        ][class]
    }

    pub fn blob(rng: &mut impl Rng) -> Self {
        Self::Blob { lobes: rng.random_range(3..6) as f32, depth: rng.random_range(0.15..0.3) }
    }

    /// How far from the outline the surface has risen to its full height.
    pub fn thickness(self) -> f32 {
        match self {
            Self::Ball | Self::Blob { .. } => 0.95,
            Self::Cone | Self::Leaf | Self::Gear | Self::Heart => 0.4,
            Self::Ring | Self::Star | Self::Cross | Self::Crescent | Self::Pillar | Self::Hourglass => 0.25,
            Self::Box | Self::Board => 0.2,
        }
    }

    /// Signed distance of a point to the outline, negative inside (exact or a little less).
    pub fn distance(self, x: f32, y: f32) -> f32 {
        let r = x.hypot(y);
        match self {
            Self::Ball => r - 0.9,
            Self::Box => rectangle(x, y, 0.75, 0.75),
            Self::Cone => triangle(x, y),
            Self::Ring => (r - 0.66).abs() - 0.26,
            Self::Star => star(x, y),
            Self::Cross => rectangle(x, y, 0.92, 0.29).min(rectangle(x, y, 0.29, 0.92)),
            Self::Crescent => (r - 0.9).max(0.72 - (x - 0.42).hypot(y)),
            Self::Pillar => rectangle(x, y, 0.36, 0.95),
            Self::Gear => {
                let teeth = (y.atan2(x) * 8.0).sin();
                ((r - 0.78 - 0.13 * (3.0 * teeth).tanh()) * 0.75).max(0.22 - r)
            }
            Self::Leaf => ((x - 0.55).hypot(y)).max((x + 0.55).hypot(y)) - 1.05,
            Self::Heart => heart(x, y),
            Self::Hourglass => hourglass(x, y),
            Self::Blob { lobes, depth } => (r - 0.85 * (1.0 + depth * (y.atan2(x) * lobes).sin())) * 0.8,
            Self::Board => y.abs() - 0.25,
        }
    }
}

fn rectangle(x: f32, y: f32, w: f32, h: f32) -> f32 {
    let (dx, dy) = (x.abs() - w, y.abs() - h);
    dx.max(0.0).hypot(dy.max(0.0)) + dx.max(dy).min(0.0)
}

/// A tall isosceles triangle.
fn triangle(x: f32, y: f32) -> f32 {
    let side = (x.abs() * 0.88 + (-y) * 0.47) - 0.42;
    side.max(y - 0.85)
}

/// A square that stands on its corner, with a disc on each of its upper sides.
fn heart(x: f32, y: f32) -> f32 {
    const HALF: f32 = 0.72;
    let (x, y) = (x.abs(), y - 0.08);
    let square = (x + y.abs() - HALF) * std::f32::consts::FRAC_1_SQRT_2;
    let disc = (x - HALF / 2.0).hypot(y + HALF / 2.0) - HALF * std::f32::consts::FRAC_1_SQRT_2;
    square.min(disc)
}

/// Two triangles that meet at a narrow waist.
fn hourglass(x: f32, y: f32) -> f32 {
    const SLOPE: f32 = 0.7;
    let side = (x.abs() - 0.1 - SLOPE * y.abs()) / SLOPE.hypot(1.0);
    side.max(y.abs() - 0.92)
}

/// A five-pointed star (after I. Quilez).
fn star(x: f32, y: f32) -> f32 {
    let (k1, k2) = ((0.809_017, -0.587_785_25), (-0.809_017, -0.587_785_25));
    let (mut px, mut py) = (x.abs(), -y);
    for (kx, ky) in [k1, k2] {
        let d: f32 = 2.0 * (kx * px + ky * py).max(0.0);
        px -= d * kx;
        py -= d * ky;
    }
    px = px.abs();
    py -= 0.95;
    let inner: f32 = 0.45;
    let (bx, by) = (inner * 0.587_785_25, inner * 0.809_017 - 1.0);
    let h = ((px * bx + py * by) / (bx * bx + by * by)).clamp(0.0, 0.95);
    (px - bx * h).hypot(py - by * h) * (py * bx - px * by).signum()
}
