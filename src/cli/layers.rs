use std::path::PathBuf;

use clap::Args;

use super::model;
use crate::data::Size;
use crate::device::Kind;
use crate::error::{Error, Result};
use crate::network::{Network, Op, Rows, op};
use crate::print::say;

const EXAMPLES: &str = "\
Examples:
  trompe layers model.onnx
  trompe layers squeezenet1_0 --size 224";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// An ONNX file, a network that `train` or `fool` saved, or the name of an architecture
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Size of the images in pixels, as 224, or as 64x128, width first [default: what the file says or was read for, or 224]
    #[arg(long, value_name = "SIZE")]
    size: Option<Size>,
    /// The layer that is taken for the output: what lies behind is not read
    #[arg(long, value_name = "LAYER")]
    output: Option<String>,
}

impl Arguments {
    pub fn run(self) -> Result<()> {
        let network = model(&self.model, self.output.as_deref(), &Kind::Flex.open()?)?;
        let size = match self.size {
            Some(size) => size.dims(),
            None => network.graph().size.unwrap_or([224; 2]),
        };
        print(&network, size)
    }
}

fn print(network: &Network, [height, width]: [usize; 2]) -> Result<()> {
    let graph = network.graph();
    let Op::Input(op::Input { channels }) = graph.nodes[0].op else {
        return Err(Error::failure(format!("network {} does not begin with an image", network.name())));
    };
    let shapes = graph.shapes([channels, height, width])?;
    let header = ["layer", "type", "shape", "parameters", "multiply-adds"].map(String::from);
    let mut rows = vec![header];
    let mut sums = [0usize; 2];
    let costs = graph.multiply_adds(&shapes);
    for (i, (node, shape)) in graph.nodes.iter().zip(&shapes).enumerate() {
        let counts = [network.parameters_of(i), costs[i]];
        sums = [0, 1].map(|k| sums[k].saturating_add(counts[k]));
        let [c, h, w] = *shape;
        // Class tokens apart from the places behind them.
        let down = match graph.rows(&node.name)? {
            Rows::Places { after: after @ 1.. } if after < h => format!("({after}+{})", h - after),
            _ => h.to_string(),
        };
        rows.push([
            node.name.clone(),
            node.op.kind(),
            format!("{c}x{down}x{w}"),
            counts[0].to_string(),
            counts[1].to_string(),
        ]);
    }
    rows.push([
        format!("{} layers", graph.nodes.len() - 1),
        String::new(),
        String::new(),
        sums[0].to_string(),
        sums[1].to_string(),
    ]);
    let widths: [usize; 5] =
        std::array::from_fn(|k| rows.iter().map(|row| row[k].chars().count()).max().unwrap_or(0));
    for [name, kind, shape, parameters, multiply_adds] in &rows {
        say!(
            "{name:<a$}  {kind:<b$}  {shape:>c$}  {parameters:>d$}  {multiply_adds:>e$}",
            a = widths[0],
            b = widths[1],
            c = widths[2],
            d = widths[3],
            e = widths[4]
        );
    }
    Ok(())
}
