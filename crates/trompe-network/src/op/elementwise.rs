//! Functions of each value alone.

use burn::tensor::Tensor;

use super::{Operator, Reads, one, only, same_size};
use crate::Node;
use crate::onnx::{Reader, Writer};
use crate::parameters::Parameters;

/// An activation function of each value alone: all that is to be said of it beyond that.
pub trait Elementwise: Clone {
    /// As [`Operator::READERS`].
    const READERS: &'static [(&'static str, Reader)];

    /// As [`Operator::check`].
    ///
    /// # Errors
    /// As there.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// The function of every value.
    fn apply(&self, x: Tensor<4>) -> Tensor<4>;

    /// As [`Operator::write`].
    fn write(&self, writer: &mut Writer, node: &Node);
}

impl<F: Elementwise> Operator for F {
    const READERS: &'static [(&'static str, Reader)] = F::READERS;

    fn check(&self) -> Result<(), String> {
        Elementwise::check(self)
    }

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        only(inputs)
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        same_size(inputs)
    }

    fn has_fixed_size(&self) -> bool {
        false
    }

    fn reads(&self, channel: usize, inputs: &[usize]) -> Reads {
        Reads::same(channel, inputs)
    }

    fn narrowed(&self, _: &[usize], _: &[usize]) -> Option<Self> {
        Some(self.clone())
    }

    fn is_elementwise(&self) -> bool {
        true
    }

    fn forward(&self, _: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        self.apply(one(inputs))
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        Elementwise::write(self, writer, node);
    }
}
