//! The sizes of a network's maps for images of a given size.

use super::graph::{Graph, Op};
use super::padding::Padding;
use crate::error::{Error, Result};

/// The most values that one image's map may have: beyond it a file is wrong or hostile.
const LARGEST_MAP: usize = 1 << 28;

impl Graph {
    /// The shape `[C, H, W]` of every layer's map for one image of this shape, in the order of the nodes.
    ///
    /// # Errors
    /// Usage, naming the layer, where images of that size don't go through the network.
    pub fn shapes(&self, image: [usize; 3]) -> Result<Vec<[usize; 3]>> {
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        self.shapes_of(&all, image)
    }

    /// The shape `[C, H, W]` of one layer's map, whatever lies behind it.
    ///
    /// # Errors
    /// As [`shapes`](Self::shapes)'s; usage, if there is no such layer.
    pub fn shape_of(&self, layer: &str, image: [usize; 3]) -> Result<[usize; 3]> {
        let position = self.position(layer)?;
        Ok(self.shapes_of(&self.ancestors(&[position]), image)?[position])
    }

    /// Whether a layer's map is another for another image.
    ///
    /// # Errors
    /// Usage, if there is no such layer.
    pub fn depends_on_image(&self, layer: &str) -> Result<bool> {
        let ancestors = self.ancestors(&[self.position(layer)?]);
        Ok(ancestors.iter().any(|&i| matches!(self.nodes[i].op, Op::Input { .. })))
    }

    /// The same for some nodes, in evaluation order; those left out are `[0, 0, 0]`.
    pub(super) fn shapes_of(&self, order: &[usize], image: [usize; 3]) -> Result<Vec<[usize; 3]>> {
        if let (Some([h, w]), Some(node)) = (self.size, &self.sized_by)
            && image[1..] != [h, w]
        {
            return Err(Error::usage(format!(
                "network {}: {node} computes with the size of the image, which was {w}x{h} pixels when the file was \
                 read; make images of that size, or export the network for images of {}x{} pixels",
                self.name, image[2], image[1]
            )));
        }
        let mut shapes = vec![[0; 3]; self.nodes.len()];
        let mut index = std::collections::HashMap::new();
        for &i in order {
            let node = &self.nodes[i];
            let inputs: Vec<[usize; 3]> = node
                .inputs
                .iter()
                .map(|name| index.get(name.as_str()).map_or([0; 3], |&at: &usize| shapes[at]))
                .collect();
            shapes[i] = match &node.op {
                Op::Input { channels } if *channels == image[0] => Ok(image),
                Op::Input { channels } => {
                    Err(format!("takes images of {channels} channels, gets {}", image[0]))
                }
                op => op.shape(&inputs),
            }
            .map_err(|what| {
                Error::usage(format!(
                    "network {}, layer {}: {what} (for images of {}x{} pixels)",
                    self.name, node.name, image[2], image[1]
                ))
            })?;
            index.insert(node.name.as_str(), i);
        }
        Ok(shapes)
    }
}

/// The product, unless it is beyond all bounds.
fn values(shape: [usize; 3]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= LARGEST_MAP)
}

impl Op {
    /// The channels of a map that had `channels`, for layers that take channels out or put some in.
    pub(super) fn channels_of(&self, channels: usize) -> Result<usize, String> {
        match self {
            Self::Slice { start, end, step } => sliced(channels, start[0], end[0], step[0]),
            Self::Pad { before, after, .. } => {
                Ok(before[0].saturating_add(channels).saturating_add(after[0]))
            }
            Self::ShuffleChannels { groups } if *groups == 0 || !channels.is_multiple_of(*groups) => {
                Err(format!("cannot shuffle {channels} channels in {groups} groups"))
            }
            _ => Ok(channels),
        }
    }

    /// The shape `[C, H, W]` of the output from those of the inputs.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn shape(&self, inputs: &[[usize; 3]]) -> Result<[usize; 3], String> {
        let one = || match inputs {
            [shape] => Ok(*shape),
            _ => Err(format!("takes one input, has {}", inputs.len())),
        };
        let deep = |want: usize| match one()? {
            [c, h, w] if c == want => Ok([c, h, w]),
            [c, ..] => Err(format!("expects {want} channels, gets {c}")),
        };
        let flat = |want: usize| match values(one()?) {
            Some(got) if got == want => Ok(()),
            got => Err(format!(
                "expects {want} values, gets {}",
                got.map_or("too many".into(), |n| n.to_string())
            )),
        };
        let shape = match self {
            Self::Input { .. } => return Err("is a second image".into()),
            Self::Conv { channels, kernel, stride, padding, dilation, groups, .. } => {
                let [_, h, w] = deep(channels[0])?;
                let divides = |n: usize| *groups > 0 && n > 0 && n.is_multiple_of(*groups);
                if !divides(channels[0]) || !divides(channels[1]) {
                    return Err(format!("{channels:?} channels do not make {groups} groups"));
                }
                let [h, w] = windows([h, w], *kernel, *stride, *padding, *dilation, false)?;
                [channels[1], h, w]
            }
            Self::MaxPool { kernel, stride, padding, dilation, ceil } => {
                let [c, h, w] = one()?;
                seeing(*kernel, *padding, *dilation)?;
                let [h, w] = windows([h, w], *kernel, *stride, *padding, *dilation, *ceil)?;
                [c, h, w]
            }
            Self::AvgPool { kernel, stride, padding, ceil, .. } => {
                let [c, h, w] = one()?;
                seeing(*kernel, *padding, [1, 1])?;
                let [h, w] = windows([h, w], *kernel, *stride, *padding, [1, 1], *ceil)?;
                [c, h, w]
            }
            Self::BatchNorm { channels, .. } | Self::LayerNorm { channels, .. } => deep(*channels)?,
            Self::Linear { features, .. } => {
                flat(features[0])?;
                [features[1], 1, 1]
            }
            Self::GlobalAvgPool | Self::GlobalMaxPool => [one()?[0], 1, 1],
            Self::Mean { channels, rows, columns } => {
                let [c, h, w] = one()?;
                let kept = |averaged: bool, n: usize| if averaged { 1 } else { n };
                [kept(*channels, c), kept(*rows, h), kept(*columns, w)]
            }
            Self::Concat => {
                let mut all = inputs.iter();
                let mut sum = *all.next().ok_or("joins nothing")?;
                for shape in all {
                    if shape[1..] != sum[1..] {
                        return Err(format!("joins maps of different sizes {inputs:?}"));
                    }
                    sum[0] = sum[0].saturating_add(shape[0]);
                }
                sum
            }
            Self::Add | Self::Mul | Self::Sub | Self::Div => {
                let first = *inputs.first().ok_or("has no input")?;
                if matches!(self, Self::Sub | Self::Div) && inputs.len() != 2 {
                    return Err(format!("takes two inputs, has {}", inputs.len()));
                }
                inputs.iter().skip(1).try_fold(first, |a, b| broadcast(a, *b))?
            }
            Self::Constant { shape } => *shape,
            Self::Flatten { features } => {
                flat(*features)?;
                [*features, 1, 1]
            }
            Self::Reshape { shape } => {
                flat(values(*shape).ok_or("is too large")?)?;
                *shape
            }
            Self::Subsample { stride: 0 } => return Err("its stride is 0".into()),
            Self::Subsample { stride } => {
                let [c, h, w] = one()?;
                [c, h.div_ceil(*stride), w.div_ceil(*stride)]
            }
            Self::Slice { start, end, step } => {
                let shape = one()?;
                let mut cut = [0; 3];
                for d in 0..3 {
                    cut[d] = sliced(shape[d], start[d], end[d], step[d])?;
                }
                cut
            }
            Self::PadChannels { before, after } => {
                let [c, h, w] = one()?;
                [c.saturating_add(*before).saturating_add(*after), h, w]
            }
            Self::Pad { before, after, .. } => {
                let shape = one()?;
                std::array::from_fn(|d| shape[d].saturating_add(before[d]).saturating_add(after[d]))
            }
            Self::Resize(resize) => {
                let [c, h, w] = one()?;
                let size = resize.size([h, w]);
                // Rows and then columns are resampled, by a matrix each.
                let steps = [[h, size[0], 1], [w, size[1], 1], [c, size[0], w]];
                if steps.into_iter().any(|step| values(step).is_none()) {
                    return Err(format!(
                        "cannot resample {c} channels of {h}x{w} to {}x{}: more than {LARGEST_MAP} values on the way",
                        size[0], size[1]
                    ));
                }
                [c, size[0], size[1]]
            }
            Self::ShuffleChannels { .. } => {
                self.channels_of(one()?[0])?;
                one()?
            }
            Self::Relu
            | Self::LeakyRelu { .. }
            | Self::Clip { .. }
            | Self::Sigmoid
            | Self::HardSigmoid { .. }
            | Self::HardSwish
            | Self::Tanh
            | Self::Elu { .. }
            | Self::Gelu { .. }
            | Self::Erf
            | Self::Lrn { .. }
            | Self::Softmax => one()?,
        };
        match values(shape) {
            Some(0) => Err(format!("its map {shape:?} is empty")),
            Some(_) => Ok(shape),
            None => Err(format!("its map {shape:?} has more than {LARGEST_MAP} values")),
        }
    }

    /// The multiplications with a weight that one image takes, from the shapes of input and output.
    pub fn multiply_adds(&self, output: [usize; 3]) -> usize {
        match self {
            Self::Conv { channels, kernel, groups, .. } => {
                output.iter().product::<usize>() * (channels[0] / groups) * kernel[0] * kernel[1]
            }
            Self::Linear { features, .. } => features[0] * features[1],
            _ => 0,
        }
    }
}

/// Refuses pools of which some windows would see nothing but the margin.
fn seeing(kernel: [usize; 2], padding: Padding, dilation: [usize; 2]) -> Result<(), String> {
    if let Padding::Same(_) = padding {
        return Ok(());
    }
    let around = padding.around([0; 2], kernel, [1; 2], dilation);
    for d in 0..2 {
        let reach = dilation[d].saturating_mul(kernel[d].saturating_sub(1)).saturating_add(1);
        if around[d].0.max(around[d].1) >= reach {
            return Err(format!(
                "its padding {padding:?} is as wide as its kernel {kernel:?}: some windows see nothing"
            ));
        }
    }
    Ok(())
}

/// How many windows there are, by rows and columns.
pub(super) fn windows(
    size: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: Padding,
    dilation: [usize; 2],
    ceil: bool,
) -> Result<[usize; 2], String> {
    let plausible = |n: usize| (1..=LARGEST_MAP).contains(&n);
    if !kernel.iter().chain(&stride).chain(&dilation).all(|&n| plausible(n)) {
        return Err(format!("its kernel {kernel:?}, stride {stride:?} or dilation {dilation:?} cannot be"));
    }
    let around = padding.around(size, kernel, stride, dilation);
    let padded = [0, 1].map(|d| size[d].saturating_add(around[d].0).saturating_add(around[d].1));
    if values([padded[0], padded[1], 1]).is_none() {
        return Err(format!("its padding {padding:?} is too large"));
    }
    let mut count = [0; 2];
    for d in 0..2 {
        let (before, padded) = (around[d].0, padded[d]);
        let reach = dilation[d].saturating_mul(kernel[d] - 1).saturating_add(1);
        if padded < reach {
            return Err(format!("its kernel {kernel:?} is larger than the map {size:?} with its padding"));
        }
        let steps = padded - reach;
        count[d] = 1 + if ceil { steps.div_ceil(stride[d]) } else { steps / stride[d] };
        // A window that begins beyond the map and the padding before it sees nothing.
        if ceil && (count[d] - 1) * stride[d] >= size[d] + before {
            count[d] -= 1;
        }
    }
    Ok(count)
}

/// The first and the last position plus one of a slice along an axis of `n`.
pub(super) fn bounds(n: usize, start: i64, end: i64) -> (usize, usize) {
    let n = n as i64;
    let place = |at: i64| (if at < 0 { at.saturating_add(n) } else { at }).clamp(0, n) as usize;
    (place(start), place(end))
}

fn sliced(n: usize, start: i64, end: i64, step: usize) -> Result<usize, String> {
    if step == 0 {
        return Err("its step is 0".into());
    }
    let (start, end) = bounds(n, start, end);
    Ok(end.saturating_sub(start).div_ceil(step))
}

fn broadcast(a: [usize; 3], b: [usize; 3]) -> Result<[usize; 3], String> {
    let mut joint = a;
    for d in 0..3 {
        joint[d] = match (a[d], b[d]) {
            (x, y) if x == y => x,
            (1, y) => y,
            (x, 1) => x,
            _ => return Err(format!("joins maps of shapes {a:?} and {b:?}")),
        };
    }
    Ok(joint)
}
