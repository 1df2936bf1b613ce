//! Sums along axes.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Abs, Along, Op, Operator, Power, Reads, one, reduce};
use crate::onnx::{Call, Done, Import, Reader, View, Writer};
use crate::parameters::Parameters;
use crate::{Node, Rows};

/// Sum over channels, rows or columns, whichever are named; what is summed has size 1 then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sum {
    /// Over which.
    pub over: Vec<Along>,
}

impl Operator for Sum {
    const READERS: &'static [(&'static str, Reader)] = &[
        ("ReduceSum", |import, call| reduce::from_onnx(import, call, |over| Sum { over }.into())),
        ("ReduceL1", |import, call| of(import, call, Abs, None)),
        ("ReduceSumSquare", |import, call| of(import, call, Power { exponent: 2.0 }, None)),
        ("ReduceL2", |import, call| of(import, call, Power { exponent: 2.0 }, Some(Power { exponent: 0.5 }))),
    ];

    fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        reduce::channels(&self.over, inputs)
    }

    fn size(&self, inputs: &[[usize; 3]]) -> Result<[usize; 2], String> {
        reduce::size(&self.over, inputs)
    }

    fn has_fixed_size(&self) -> bool {
        reduce::has_fixed_size(&self.over)
    }

    fn reads(&self, channel: usize, inputs: &[usize]) -> Reads {
        reduce::reads(&self.over, channel, inputs)
    }

    fn rows(&self, inputs: &[Rows]) -> Rows {
        reduce::rows(&self.over, inputs)
    }

    fn narrowed(&self, _: &[usize], _: &[usize]) -> Option<Self> {
        (!self.over.contains(&Along::Channels)).then(|| self.clone())
    }

    fn forward(&self, _: &Parameters, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        self.over.iter().fold(one(inputs), |x, along| x.sum_dim(along.dim()))
    }

    fn write(&self, writer: &mut Writer, node: &Node) {
        let axes: Vec<i64> = self.over.iter().map(|along| along.dim() as i64).collect();
        let axes = writer.numbers(node.part("axes"), &axes);
        writer.push(&node.name, "ReduceSum", &[node.input(), &axes], &node.name, vec![]);
    }
}

/// The sum of a function of each value, and a power of it.
fn of(import: &mut Import<'_>, call: &Call<'_>, of_each: impl Into<Op>, power: Option<Power>) -> Done {
    let view = import.view(call, 0)?;
    let each = import.push(call, Some("each"), of_each, &[view.layer], vec![])?;
    let each = View { layer: each, ..view };
    let part = power.map(|_| "sum");
    let sum = reduce::of_view(import, call, each, part, |over| Sum { over }.into())?;
    let layer = match power {
        Some(power) => import.push(call, None, power, &[sum.layer], vec![])?,
        None => sum.layer,
    };
    import.set_view(call, 0, View { layer, ..sum });
    Ok(())
}
