//! How large images are.

use std::fmt;
use std::str::FromStr;

use image::{RgbImage, imageops};
use serde::{Deserialize, Serialize};

use crate::bounds::within;

/// Width and height of images in pixels. Written as one number where both are the same, else as
/// `{ width = 64, height = 128 }`, and on the command line as `64x128`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Size {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "a number of pixels, or { width = NUMBER, height = NUMBER }")]
enum Written {
    Square(usize),
    Sides { width: usize, height: usize },
}

impl From<Written> for Size {
    fn from(written: Written) -> Self {
        match written {
            Written::Square(side) => side.into(),
            Written::Sides { width, height } => Self { width, height },
        }
    }
}

impl From<Size> for Written {
    fn from(Size { width, height }: Size) -> Self {
        if width == height { Self::Square(width) } else { Self::Sides { width, height } }
    }
}

impl From<usize> for Size {
    fn from(side: usize) -> Self {
        Self { width: side, height: side }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { width, height } if width == height => write!(f, "{width}"),
            Self { width, height } => write!(f, "{width}x{height}"),
        }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let side = |text: &str| text.trim().parse::<usize>().ok();
        let size = match text.split_once('x') {
            Some((width, height)) => {
                side(width).zip(side(height)).map(|(width, height)| Self { width, height })
            }
            None => side(text).map(Self::from),
        };
        let size = size.ok_or("give a number of pixels, as 224, or WIDTHxHEIGHT, as 64x128")?;
        size.check("the size", 1, 16_384)?;
        Ok(size)
    }
}

impl Size {
    /// Of a map of this height and width.
    pub fn of([height, width]: [usize; 2]) -> Self {
        Self { width, height }
    }

    /// Height and width, as tensors have them.
    pub fn dims(self) -> [usize; 2] {
        [self.height, self.width]
    }

    /// Width and height, as images have them.
    pub fn pixels(self) -> (u32, u32) {
        (self.width as u32, self.height as u32)
    }

    /// The side, where there is one.
    pub fn square(self) -> Option<usize> {
        (self.width == self.height).then_some(self.width)
    }

    /// The shorter side.
    pub fn shorter(self) -> usize {
        self.width.min(self.height)
    }

    /// A picture, given to be shown, at this size.
    pub fn filled(self, picture: &RgbImage) -> RgbImage {
        imageops::resize(picture, self.width as u32, self.height as u32, imageops::FilterType::Triangle)
    }

    /// Refuses sides that are not within a range.
    ///
    /// # Errors
    /// A message that starts with the key.
    pub(crate) fn check(self, key: &str, least: usize, most: usize) -> Result<(), String> {
        self.dims().into_iter().try_for_each(|side| within(key, side, least..=most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_they_are_read() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Holder {
            size: Size,
        }
        for (text, width, height) in [("size = 64", 64, 64), ("size = { width = 64, height = 128 }", 64, 128)]
        {
            let holder: Holder = toml::from_str(text).unwrap();
            assert_eq!(holder, Holder { size: Size { width, height } });
            assert_eq!(toml::from_str::<Holder>(&toml::to_string(&holder).unwrap()).unwrap(), holder);
        }
        let message = toml::from_str::<Holder>("size = [64, 128]").unwrap_err().to_string();
        assert!(message.contains("{ width = NUMBER, height = NUMBER }"), "{message}");
    }

    #[test]
    fn sizes_on_the_command_line() {
        assert_eq!("224".parse(), Ok(Size::from(224)));
        assert_eq!("64x128".parse(), Ok(Size { width: 64, height: 128 }));
        for bad in ["", "x", "64x", "64x0", "-3", "99999"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }
}
