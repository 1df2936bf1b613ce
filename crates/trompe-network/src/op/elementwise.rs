//! Functions of each value alone.

use burn::tensor::Tensor;

use super::{Channelwise, one, same_size};
use crate::onnx::{Reader, Writer};
use crate::{Node, Rows};

/// An activation function of each value alone: all that is to be said of it beyond that.
pub trait Elementwise: Clone {
    /// As [`Channelwise::READERS`].
    const READERS: &'static [(&'static str, Reader)];

    /// As [`Channelwise::check`].
    ///
    /// # Errors
    /// As there.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// The function of every value.
    fn apply(&self, x: Tensor<4>) -> Tensor<4>;

    /// As [`Channelwise::write`].
    fn write(&self, writer: &mut Writer, node: &Node);
}

impl<F: Elementwise> Channelwise for F {
    const READERS: &'static [(&'static str, Reader)] = F::READERS;

    fn check(&self) -> Result<(), String> {
        Elementwise::check(self)
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        same_size(inputs)
    }

    fn rows(&self, inputs: &[Rows]) -> Rows {
        Rows::kept(inputs)
    }

    fn is_elementwise(&self) -> bool {
        true
    }

    fn compute(&self, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        self.apply(one(inputs))
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        Elementwise::write(self, writer, node);
    }
}
