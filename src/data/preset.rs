//! Preprocessing by name.

use clap::ValueEnum;

use super::{ChannelOrder, Preprocessing, Resize, Size};

/// What many networks were trained on, by the names that it goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// torchvision's and most of timm's: (pixel − 0.485 0.456 0.406) / 0.229 0.224 0.225, pixels in 0..1
    Imagenet,
    /// −1 to 1: (pixel − 0.5) / 0.5
    Inception,
    /// OpenAI's CLIP: (pixel − 0.481 0.458 0.408) / 0.269 0.261 0.276
    Clip,
    /// blue, green, red in 0..255, less 104 117 123
    Caffe,
    /// 0 to 1, as pixels are
    Unit,
}

impl Preset {
    /// Images of a size, prepared so. Where they are squares, the shorter side is resized to 256 pixels for each 224 of them first, as
    /// torchvision does; else both sides are resized.
    pub fn preprocessing(self, size: Size) -> Preprocessing {
        let (width, height) = size.pixels();
        let plain = match size.square() {
            Some(side) => Preprocessing {
                resize: Some(Resize::Shorter((side as f64 * 256.0 / 224.0).round() as u32)),
                crop: Some(size),
                ..Preprocessing::default()
            },
            None => {
                Preprocessing { resize: Some(Resize::Sides { width, height }), ..Preprocessing::default() }
            }
        };
        match self {
            Self::Imagenet => {
                Preprocessing { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], ..plain }
            }
            Self::Inception => Preprocessing { mean: [0.5; 3], std: [0.5; 3], ..plain },
            Self::Clip => Preprocessing {
                mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
                std: [0.268_629_55, 0.261_302_6, 0.275_777_1],
                ..plain
            },
            Self::Caffe => Preprocessing {
                channel_order: ChannelOrder::Bgr,
                scale: 255.0,
                mean: [104.0, 117.0, 123.0],
                ..plain
            },
            Self::Unit => plain,
        }
    }
}
