//! Where the pixels of a transformed image lie in the original.

/// What is outside an image, in its margin.
pub const GREY: f32 = 0.5;

/// How many grey rows and columns there are before an image and after it, for what a result takes from outside.
pub const MARGIN: [usize; 2] = [1, 2];

/// Black rows after the margin's, for what lies outside of that.
pub const BLACK: usize = 2;

/// Height and width of an image with what is around it.
pub fn surrounded([h, w]: [usize; 2]) -> [usize; 2] {
    let [before, after] = MARGIN;
    [h + before + after + BLACK, w + before + after]
}

/// Where a pixel of a result lies in an image.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The place of the first of the four pixels around it, in the image with its margin.
    pub at: u32,
    /// How far below that one it lies, in pixels: 0 to 1.
    pub below: f32,
    /// How far right of that one it lies, in pixels: 0 to 1.
    pub right: f32,
}

impl Sample {
    /// What it takes of the four pixels around it, in their order.
    #[inline(always)]
    pub fn shares(&self) -> [f32; 4] {
        let Self { below, right, .. } = *self;
        [(1.0 - below) * (1.0 - right), (1.0 - below) * right, below * (1.0 - right), below * right]
    }
}

/// Where the pixels of one result lie in its image, by row.
pub type Samples = Vec<Vec<Sample>>;
