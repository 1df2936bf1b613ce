//! What convolutions have in common: filters, in groups, with or without biases.

use burn::tensor::TensorData;
use rand::Rng;

use super::{Parameter, Reads, of_channels};
use crate::parameters::{filled, he_normal};

/// The filters of a convolution.
pub struct Filters {
    /// Channels of the input and of the output.
    pub channels: [usize; 2],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// In so many groups channels are divided, of which each reads its own alone.
    pub groups: usize,
    /// Whether there is a bias for each output channel.
    pub bias: bool,
}

impl Filters {
    /// The channels of the output.
    pub fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        of_channels(inputs, self.channels[0])?;
        let divides = |n: usize| self.groups > 0 && n > 0 && n.is_multiple_of(self.groups);
        match self.channels.into_iter().all(divides) {
            true => Ok(self.channels[1]),
            false => Err(format!("{:?} channels do not make {} groups", self.channels, self.groups)),
        }
    }

    /// What a channel of the output is computed from.
    pub fn reads(&self, channel: usize) -> Reads {
        if self.groups == 1 {
            return Reads::All;
        }
        let [read, own] = self.channels.map(|n| n / self.groups);
        let group = channel / own;
        Reads::Channels((group * read..(group + 1) * read).map(|c| (0, c)).collect())
    }

    /// `[out, in / groups, rows, columns]`.
    fn shape(&self) -> [usize; 4] {
        let ([input, output], [h, w]) = (self.channels, self.kernel);
        [output, input / self.groups.max(1), h, w]
    }

    /// The weight and, if there is one, the bias.
    pub fn parameters(&self) -> Vec<Parameter> {
        let weight = Parameter::new("weight", self.shape());
        let bias = self.bias.then(|| Parameter::new("bias", [self.channels[1]]));
        [weight].into_iter().chain(bias).collect()
    }

    /// Their values to start with.
    pub fn draw(&self, rng: &mut impl Rng) -> Vec<TensorData> {
        let shape = self.shape();
        let weight = he_normal(&shape, shape[1..].iter().product(), rng);
        [weight].into_iter().chain(self.bias.then(|| filled(0.0, &[self.channels[1]]))).collect()
    }
}
