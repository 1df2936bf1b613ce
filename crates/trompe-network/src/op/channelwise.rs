//! Operators that keep channels apart.

use burn::tensor::Tensor;

use super::{Operator, Reads, only};
use crate::onnx::{Reader, Writer};
use crate::parameters::Parameters;
use crate::{Node, Rows};

/// An operator without parameters whose output has the channels of its inputs, each computed from the same one of theirs alone:
/// all that is to be said of it beyond that.
pub trait Channelwise: Clone {
    /// As [`Operator::READERS`].
    const READERS: &'static [(&'static str, Reader)];

    /// As [`Operator::check`].
    ///
    /// # Errors
    /// As there.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// As [`Operator::channels`]; those of the only input, unless it is said otherwise.
    ///
    /// # Errors
    /// As there.
    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        only(inputs)
    }

    /// As [`Operator::size`].
    ///
    /// # Errors
    /// As there.
    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String>;

    /// As [`Operator::has_fixed_size`].
    fn has_fixed_size(&self) -> bool {
        false
    }

    /// As [`Operator::rows`].
    fn rows(&self, inputs: &[Rows]) -> Rows {
        Rows::made(inputs)
    }

    /// As [`Operator::is_elementwise`].
    fn is_elementwise(&self) -> bool {
        false
    }

    /// As [`Operator::forward`].
    fn compute(&self, inputs: Vec<Tensor<4>>) -> Tensor<4>;

    /// As [`Operator::write`].
    fn write(&self, writer: &mut Writer, node: &Node);
}

impl<C: Channelwise> Operator for C {
    const READERS: &'static [(&'static str, Reader)] = C::READERS;

    fn check(&self) -> Result<(), String> {
        Channelwise::check(self)
    }

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        Channelwise::channels(self, inputs)
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        Channelwise::size(self, inputs)
    }

    fn has_fixed_size(&self) -> bool {
        Channelwise::has_fixed_size(self)
    }

    fn reads(&self, channel: usize, inputs: &[usize]) -> Reads {
        Reads::same(channel, inputs)
    }

    fn narrowed(&self, _: &[usize], _: &[usize]) -> Option<Self> {
        Some(self.clone())
    }

    fn rows(&self, inputs: &[Rows]) -> Rows {
        Channelwise::rows(self, inputs)
    }

    fn is_elementwise(&self) -> bool {
        Channelwise::is_elementwise(self)
    }

    fn forward(&self, _: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        self.compute(inputs)
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        Channelwise::write(self, writer, node);
    }
}
