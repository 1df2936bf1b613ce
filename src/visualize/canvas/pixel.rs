//! The pixels themselves.

use burn::tensor::{Device, Tensor};

use super::{Canvas, colour};

/// Images by their pixels.
pub struct Pixel {
    size: [usize; 2],
    device: Device,
}

impl Pixel {
    /// A canvas for images of this size.
    pub fn new(size: [usize; 2], device: &Device) -> Self {
        Self { size, device: device.clone() }
    }
}

impl Canvas for Pixel {
    fn shape(&self) -> [usize; 3] {
        let [height, width] = self.size;
        [3, height, width]
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn image(&self, values: Tensor<4>) -> Tensor<4> {
        colour::image(values)
    }

    fn values(&self, images: Tensor<4>) -> Tensor<4> {
        colour::pixels(images.to_device(&self.device))
    }
}
