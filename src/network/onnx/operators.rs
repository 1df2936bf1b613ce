//! What each ONNX operator becomes.

use burn::tensor::TensorData;

use super::array::{Array, Constant, Number};
use super::call::Call;
use super::constants;
use super::import::{Axis, Import, MAP, Map, Refusal, Value};
use super::proto::elements;
use crate::network::{Coordinates, Interpolation, Op, Padding, Resize, Rounding, Same, Target};

/// The operators that become layers, or are done away with.
#[rustfmt::skip]
const KNOWN: [&str; 46] = [
    "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "ConstantOfShape",
    "Conv", "Div", "Dropout", "Elu", "Erf", "Flatten", "Gather", "Gelu", "Gemm", "GlobalAveragePool",
    "GlobalMaxPool", "HardSigmoid", "HardSwish", "Identity", "LRN", "LayerNormalization", "LeakyRelu",
    "MatMul", "MaxPool", "Mul", "Pad", "ReduceMax", "ReduceMean", "Relu", "Reshape", "Resize", "Shape", "Sigmoid", "Slice",
    "Softmax", "Split", "Squeeze", "Sub", "Sum", "Tanh", "Transpose", "Unsqueeze", "Upsample",
];

type Done = Result<(), Refusal>;

fn unsupported<T>(what: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Unsupported(what.into()))
}

fn wrong<T>(what: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Wrong(what.into()))
}

/// Turns a node into layers, or into a constant.
pub fn apply(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    if call.operator() == "Dropout"
        && let Some(Array { values, .. }) = import.numbers(call, 2)?
        && values.iter().any(|v| *v != Number::Known(0))
    {
        return unsupported("in training mode");
    }
    if !call.is_standard() || !KNOWN.contains(&call.operator()) {
        return unsupported("");
    }
    if constants::apply(import, call)? {
        return Ok(());
    }
    match call.operator() {
        "Conv" => conv(import, call),
        "BatchNormalization" => batch_norm(import, call),
        "LayerNormalization" => layer_norm(import, call),
        "MaxPool" => max_pool(import, call),
        "AveragePool" => average_pool(import, call),
        "GlobalAveragePool" => global(import, call, Op::GlobalAvgPool),
        "GlobalMaxPool" => global(import, call, Op::GlobalMaxPool),
        "ReduceMean" | "ReduceMax" => reduce(import, call),
        "LRN" => lrn(import, call),
        "Gemm" => gemm(import, call),
        "MatMul" => mat_mul(import, call),
        "Add" | "Sum" => join(import, call, Op::Add),
        "Mul" => join(import, call, Op::Mul),
        "Sub" => join(import, call, Op::Sub),
        "Div" => join(import, call, Op::Div),
        "Concat" => concat(import, call),
        "Relu" => elementwise(import, call, Op::Relu),
        "Sigmoid" => elementwise(import, call, Op::Sigmoid),
        "HardSwish" => elementwise(import, call, Op::HardSwish),
        "Tanh" => elementwise(import, call, Op::Tanh),
        "Erf" => elementwise(import, call, Op::Erf),
        "LeakyRelu" => elementwise(import, call, Op::LeakyRelu { slope: call.float("alpha", 0.01)? }),
        "Elu" => elementwise(import, call, Op::Elu { alpha: call.float("alpha", 1.0)? }),
        "HardSigmoid" => {
            let (slope, offset) = (call.float("alpha", 0.2)?, call.float("beta", 0.5)?);
            elementwise(import, call, Op::HardSigmoid { slope, offset })
        }
        "Gelu" => {
            let approximate = call.text("approximate")?.is_some_and(|a| a == "tanh");
            elementwise(import, call, Op::Gelu { approximate })
        }
        "Clip" => clip(import, call),
        "Softmax" => softmax(import, call),
        "Flatten" => flatten(import, call),
        "Reshape" => reshape(import, call),
        "Squeeze" => squeeze(import, call),
        "Unsqueeze" => unsqueeze(import, call),
        "Transpose" => transpose(import, call),
        "Pad" => pad(import, call),
        "Slice" => slice(import, call),
        "Split" => split(import, call),
        "Gather" => gather(import, call),
        "Resize" | "Upsample" => resize(import, call),
        "Identity" | "Cast" | "Dropout" => {
            if call.operator() == "Cast" {
                let to = call.int("to")?.unwrap_or(0);
                if !elements::FRACTIONS.iter().any(|&kind| i64::from(kind) == to) {
                    return unsupported(format!("of a map to elements that are no fractions (type {to})"));
                }
            }
            let value = import.value(call, 0)?.clone();
            import.set(call, 0, value);
            import.set(call, 1, Value::Absent("the mask of a Dropout"));
            Ok(())
        }
        "Shape" => shape(import, call),
        _ => unsupported("on other than constants"),
    }
}

/// Keeps the layer as what the node gives, with axes as its input's.
fn give(import: &mut Import<'_>, call: &Call<'_>, layer: usize, axes: Vec<Axis>) -> Done {
    import.set(call, 0, Value::Map(Map { layer, axes }));
    Ok(())
}

fn elementwise(import: &mut Import<'_>, call: &Call<'_>, op: Op) -> Done {
    let map = import.map(call, 0)?;
    let layer = import.push(call, None, op, &[map.layer], vec![])?;
    give(import, call, layer, map.axes)
}

/// The margin that a window operator asks for.
fn padding(call: &Call<'_>) -> Result<Padding, Refusal> {
    match call.text("auto_pad")?.as_deref() {
        Some("SAME_UPPER") => Ok(Padding::Same(Same::SameUpper)),
        Some("SAME_LOWER") => Ok(Padding::Same(Same::SameLower)),
        Some("VALID") => Ok(Padding::Symmetric([0, 0])),
        None | Some("NOTSET" | "") => match call.ints("pads") {
            None => Ok(Padding::Symmetric([0, 0])),
            Some(pads @ &[top, left, bottom, right]) => {
                if pads.iter().any(|p| !(0..1 << 28).contains(p)) {
                    return wrong(format!("has the padding {pads:?}"));
                }
                Ok(Padding::Sides([top, left, bottom, right].map(|p| p as usize)).plain())
            }
            Some(pads) => unsupported(format!("over {} dimensions instead of 2", pads.len() / 2)),
        },
        Some(other) => wrong(format!("has the auto_pad \"{other}\"")),
    }
}

fn conv(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let Some(weight) = import.floats(call, 1)? else { return wrong("has no weights") };
    let Ok([output, input, kh, kw]) = <[usize; 4]>::try_from(&weight.dims[..]) else {
        return unsupported(format!("over {} dimensions instead of 2", weight.dims.len().saturating_sub(2)));
    };
    let x = import.image(call, 0)?;
    let kernel = call.pair("kernel_shape", Some([kh.max(1), kw.max(1)]))?;
    if kernel != [kh, kw] {
        return wrong(format!("has the kernel_shape {kernel:?}, and weights of shape {:?}", weight.dims));
    }
    let groups = call.int("group")?.unwrap_or(1);
    let channels = import.shape(x)[0];
    let groups = usize::try_from(groups).ok().filter(|&g| g > 0 && input.checked_mul(g) == Some(channels));
    let Some(groups) = groups else {
        return wrong(format!(
            "has weights of shape {:?} in {} groups for {channels} channels",
            weight.dims,
            call.int("group")?.unwrap_or(1)
        ));
    };
    let bias = import.floats(call, 2)?;
    if let Some(bias) = bias
        && bias.dims != [output]
    {
        return wrong(format!("has a bias of shape {:?} for {output} channels", bias.dims));
    }
    let op = Op::Conv {
        channels: [channels, output],
        kernel,
        stride: call.pair("strides", Some([1, 1]))?,
        padding: padding(call)?,
        dilation: call.pair("dilations", Some([1, 1]))?,
        groups,
        bias: bias.is_some(),
    };
    let parameters = [Some(weight), bias].into_iter().flatten().map(data).collect();
    let layer = import.push(call, None, op, &[x], parameters)?;
    give(import, call, layer, MAP.into())
}

fn data(array: &Array<f32>) -> TensorData {
    TensorData::new(array.values.clone(), array.dims.clone())
}

/// Parameters of which there is one a channel.
fn channelwise(
    import: &Import<'_>,
    call: &Call<'_>,
    inputs: std::ops::Range<usize>,
    channels: usize,
) -> Result<Vec<TensorData>, Refusal> {
    inputs
        .map(|at| match import.floats(call, at)? {
            Some(array) if array.dims == [channels] => Ok(data(array)),
            Some(array) => {
                wrong(format!("has a parameter of shape {:?} for {channels} channels", array.dims))
            }
            None => wrong(format!("has no input {}", at + 1)),
        })
        .collect()
}

fn batch_norm(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    if call.flag("training_mode")? {
        return unsupported("in training mode");
    }
    let given = call.node.output.iter().filter(|name| !name.is_empty()).count();
    if import.opset < 14 && given > 1 {
        return unsupported(format!("in training mode (it gives {given} values, not one)"));
    }
    if call.int("spatial")?.unwrap_or(1) == 0 {
        return unsupported("of every place for itself (spatial = 0)");
    }
    let map = import.map(call, 0)?;
    if map.axes.get(1) != Some(&Axis::Channels) {
        return unsupported("over other than the channels");
    }
    let channels = import.shape(map.layer)[0];
    let parameters = channelwise(import, call, 1..5, channels)?;
    if let Some(value) = parameters[3].iter::<f32>().find(|&value| value < 0.0) {
        return wrong(format!("has the variance {value}, and none is below 0"));
    }
    let op = Op::BatchNorm { channels, epsilon: call.float("epsilon", 1e-5)? };
    let layer = import.push(call, None, op, &[map.layer], parameters)?;
    for at in 1..call.node.output.len() {
        import.set(call, at, Value::Absent("the statistics of a BatchNormalization"));
    }
    give(import, call, layer, map.axes)
}

fn layer_norm(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let map = import.map(call, 0)?;
    let last = map.axes.len() as i64 - 1;
    let axis = call.int("axis")?.unwrap_or(-1);
    if (axis != -1 && axis != last) || map.axes.last() != Some(&Axis::Channels) {
        return unsupported("over other than the channels");
    }
    let channels = import.shape(map.layer)[0];
    let mut parameters = channelwise(import, call, 1..2, channels)?;
    parameters.push(match import.floats(call, 2)? {
        Some(_) => channelwise(import, call, 2..3, channels)?.remove(0),
        None => TensorData::new(vec![0f32; channels], [channels]),
    });
    let op = Op::LayerNorm { channels, epsilon: call.float("epsilon", 1e-5)? };
    let layer = import.push(call, None, op, &[map.layer], parameters)?;
    for at in 1..call.node.output.len() {
        import.set(call, at, Value::Absent("the statistics of a LayerNormalization"));
    }
    give(import, call, layer, map.axes)
}

fn max_pool(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let kernel = call.pair("kernel_shape", None)?;
    let x = import.image(call, 0)?;
    let op = Op::MaxPool {
        kernel,
        stride: call.pair("strides", Some([1, 1]))?,
        padding: padding(call)?,
        dilation: call.pair("dilations", Some([1, 1]))?,
        ceil: call.flag("ceil_mode")?,
    };
    let layer = import.push(call, None, op, &[x], vec![])?;
    import.set(call, 1, Value::Absent("the indices of a MaxPool"));
    give(import, call, layer, MAP.into())
}

fn average_pool(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let kernel = call.pair("kernel_shape", None)?;
    let x = import.image(call, 0)?;
    if call.pair("dilations", Some([1, 1]))? != [1, 1] {
        return unsupported("with dilation");
    }
    let op = Op::AvgPool {
        kernel,
        stride: call.pair("strides", Some([1, 1]))?,
        padding: padding(call)?,
        ceil: call.flag("ceil_mode")?,
        count_padding: call.flag("count_include_pad")?,
    };
    let layer = import.push(call, None, op, &[x], vec![])?;
    give(import, call, layer, MAP.into())
}

fn global(import: &mut Import<'_>, call: &Call<'_>, op: Op) -> Done {
    let x = import.image(call, 0)?;
    let layer = import.push(call, None, op, &[x], vec![])?;
    give(import, call, layer, MAP.into())
}

/// An axis by its number, which may count from the end.
fn axis(number: i64, axes: usize) -> Result<usize, Refusal> {
    let n = axes as i64;
    match number {
        a if (0..n).contains(&a) => Ok(a as usize),
        a if (-n..0).contains(&a) => Ok((a + n) as usize),
        a => wrong(format!("names the axis {a} of a value that has {n}")),
    }
}

/// Refuses axes of which one is named twice.
pub fn once(axes: &[usize]) -> Done {
    match axes.iter().enumerate().any(|(i, a)| axes[..i].contains(a)) {
        true => wrong(format!("names an axis twice ({axes:?}); each may be named once")),
        false => Ok(()),
    }
}

/// The most numbers that say how axes are changed, or split.
const MOST_NUMBERS: usize = 1024;

/// The whole numbers that are an attribute in old versions and an input in new ones.
fn listed(import: &Import<'_>, call: &Call<'_>, name: &str, at: usize) -> Result<Option<Vec<i64>>, Refusal> {
    if let Some(ints) = call.ints(name).filter(|ints| ints.len() <= MOST_NUMBERS) {
        return Ok(Some(ints.to_vec()));
    }
    let Some(array) = import.numbers(call, at)? else { return Ok(None) };
    if array.values.len() > MOST_NUMBERS {
        return wrong(format!("has {} numbers as its input {}", array.values.len(), at + 1));
    }
    match import.settled(call, &array.values) {
        Some(numbers) => Ok(Some(numbers)),
        None => unsupported("with numbers that depend on how many images there are"),
    }
}

fn reduce(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let map = import.map(call, 0)?;
    let axes = listed(import, call, "axes", 1)?.filter(|axes| !axes.is_empty());
    if axes.is_none() && call.flag("noop_with_empty_axes")? {
        return give(import, call, map.layer, map.axes);
    }
    let Some(axes) = axes else { return unsupported("over all axes, the images among them") };
    let numbers = axes.iter().map(|&a| axis(a, map.axes.len())).collect::<Result<Vec<_>, _>>()?;
    let has = |axis| numbers.iter().any(|&d| map.axes[d] == axis);
    if has(Axis::Batch) {
        return unsupported("over the images");
    }
    let (channels, rows, columns) = (has(Axis::Channels), has(Axis::Rows), has(Axis::Columns));
    let op = match (call.operator(), channels, rows, columns) {
        ("ReduceMax", false, true, true) => Op::GlobalMaxPool,
        ("ReduceMax", ..) => return unsupported("over other than the whole map"),
        (_, false, true, true) => Op::GlobalAvgPool,
        _ => Op::Mean { channels, rows, columns },
    };
    let layer = import.push(call, None, op, &[map.layer], vec![])?;
    let keep = call.int("keepdims")?.unwrap_or(1) != 0;
    let left = map.axes.iter().enumerate().filter(|(d, _)| keep || !numbers.contains(d));
    let axes = left.map(|(_, &axis)| axis).collect();
    give(import, call, layer, axes)
}

fn lrn(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let x = import.image(call, 0)?;
    let size = call.int("size")?.and_then(|s| usize::try_from(s).ok()).filter(|&s| s > 0);
    let Some(size) = size else { return wrong("has no size of at least 1") };
    let op = Op::Lrn {
        size,
        alpha: call.float("alpha", 1e-4)?,
        beta: call.float("beta", 0.75)?,
        bias: call.float("bias", 1.0)?,
    };
    let layer = import.push(call, None, op, &[x], vec![])?;
    give(import, call, layer, MAP.into())
}

/// A matrix of parameters.
fn matrix<'a>(import: &'a Import<'_>, call: &Call<'_>) -> Result<&'a Array<f32>, Refusal> {
    match import.floats(call, 1)? {
        Some(array) if array.dims.len() == 2 && !array.values.is_empty() => Ok(array),
        Some(array) => unsupported(format!("with parameters of shape {:?}", array.dims)),
        None => wrong("has no second input"),
    }
}

fn gemm(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let x = import.map(call, 0)?;
    if call.flag("transA")? || x.axes != [Axis::Batch, Axis::Channels] {
        return unsupported("on other than [N, features]");
    }
    let (alpha, beta) = (call.float("alpha", 1.0)? as f32, call.float("beta", 1.0)? as f32);
    let weight = matrix(import, call)?;
    let weight = if call.flag("transB")? { weight.transposed(&[1, 0]) } else { weight.clone() };
    let [input, output] = [weight.dims[0], weight.dims[1]];
    let mut parameters =
        vec![TensorData::new(weight.values.iter().map(|w| alpha * w).collect(), weight.dims.clone())];
    let bias = import.floats(call, 2)?;
    if let Some(bias) = bias {
        let per_output = bias.values.len() == output && bias.dims.last() == Some(&output);
        let values: Vec<f32> = match bias.values[..] {
            [one] => vec![beta * one; output],
            ref all if per_output => all.iter().map(|b| beta * b).collect(),
            _ => return unsupported(format!("with a bias of shape {:?} for {output} outputs", bias.dims)),
        };
        parameters.push(TensorData::new(values, [output]));
    }
    let op = Op::Linear { features: [input, output], bias: bias.is_some() };
    let layer = import.push(call, None, op, &[x.layer], parameters)?;
    give(import, call, layer, x.axes)
}

/// Over features, a linear layer; over the channels of every place, a 1x1 convolution.
fn mat_mul(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let x = import.map(call, 0)?;
    if x.axes.first() != Some(&Axis::Batch) || x.axes.last() != Some(&Axis::Channels) {
        return unsupported("over other than the channels");
    }
    let weight = matrix(import, call)?;
    let [input, output] = [weight.dims[0], weight.dims[1]];
    let (op, parameters) = if x.axes.len() == 2 {
        (Op::Linear { features: [input, output], bias: false }, vec![data(weight)])
    } else {
        let values = weight.transposed(&[1, 0]).values;
        let weight = TensorData::new(values, [output, input, 1, 1]);
        (Op::conv(input, output, 1, 1, 0).without_bias(), vec![weight])
    };
    let layer = import.push(call, None, op, &[x.layer], parameters)?;
    give(import, call, layer, x.axes)
}

/// Sums, products, … of maps and constants.
fn join(import: &mut Import<'_>, call: &Call<'_>, op: Op) -> Done {
    if call.int("broadcast")?.unwrap_or(0) != 0 && call.int("axis")?.is_some() {
        return unsupported("with the broadcasting of opset 6 and earlier");
    }
    let count = call.node.input.len();
    let mut axes: Option<Vec<Axis>> = None;
    for at in 0..count {
        if let Value::Map(map) = import.value(call, at)? {
            match &axes {
                None => axes = Some(map.axes.clone()),
                Some(axes) if *axes == map.axes => {}
                Some(_) => return unsupported("of values whose axes differ"),
            }
        }
    }
    let Some(axes) = axes else { return unsupported("of values of five dimensions") };
    let mut inputs = vec![];
    for at in 0..count {
        inputs.push(match import.value(call, at)? {
            Value::Map(map) => map.layer,
            Value::Constant(_) => import.constant(call, at, &axes)?,
            _ => return unsupported("of values of five dimensions"),
        });
    }
    let layer = import.push(call, None, op, &inputs, vec![])?;
    give(import, call, layer, axes)
}

fn concat(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let maps = (0..call.node.input.len()).map(|at| import.map(call, at)).collect::<Result<Vec<_>, _>>()?;
    let Some(first) = maps.first() else { return wrong("joins nothing") };
    let axes = first.axes.clone();
    if maps.iter().any(|m| m.axes != axes) {
        return unsupported("of values whose axes differ");
    }
    // Version 3 and earlier joined channels unless told otherwise.
    let number = call.int("axis")?.unwrap_or(1);
    if axes[axis(number, axes.len())?] != Axis::Channels {
        return unsupported("along other than the channels");
    }
    let inputs: Vec<usize> = maps.iter().map(|m| m.layer).collect();
    let layer = import.push(call, None, Op::Concat, &inputs, vec![])?;
    give(import, call, layer, axes)
}

fn clip(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let bound = |name: &str, at: usize| -> Result<Option<f32>, Refusal> {
        if import.opset < 11 {
            let value = call.has(name).then(|| call.float(name, 0.0)).transpose()?;
            return Ok(value.map(|v| v as f32));
        }
        match import.floats(call, at)? {
            None => Ok(None),
            Some(Array { values, .. }) if values.len() == 1 => Ok(Some(values[0])),
            Some(array) => wrong(format!("has a bound of shape {:?}", array.dims)),
        }
    };
    let (min, max) = (bound("min", 1)?, bound("max", 2)?);
    if [min, max].into_iter().flatten().any(f32::is_nan) {
        return wrong("has a bound that is no number");
    }
    let finite = |v: &f32| v.abs() < f32::MAX;
    let (min, max) = (min.filter(finite), max.filter(finite));
    elementwise(import, call, Op::Clip { min, max })
}

fn softmax(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let map = import.map(call, 0)?;
    let number = call.int("axis")?.unwrap_or(if import.opset < 13 { 1 } else { -1 });
    let at = axis(number, map.axes.len())?;
    // Before version 13, over all axes from this one on.
    let over: Vec<Axis> = if import.opset < 13 { map.axes[at..].to_vec() } else { vec![map.axes[at]] };
    let others = over.iter().filter(|&&a| a != Axis::Channels);
    if !over.contains(&Axis::Channels)
        || others.clone().any(|&a| import.extent(map.layer, a) != Number::Known(1))
    {
        return unsupported("over other than the channels");
    }
    elementwise(import, call, Op::Softmax)
}

fn shape(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let Value::Map(map) = import.value(call, 0)? else { return unsupported("of a value of five dimensions") };
    let size = |&axis: &Axis| match import.extent(map.layer, axis) {
        Number::Known(n) if import.varies(map.layer, axis) => Number::Image(n),
        n => n,
    };
    let all: Vec<Number> = map.axes.iter().map(size).collect();
    let n = all.len() as i64;
    let place = |at: i64| (if at < 0 { at.saturating_add(n) } else { at }).clamp(0, n) as usize;
    let start = place(call.int("start")?.unwrap_or(0));
    let end = place(call.int("end")?.unwrap_or(n)).max(start);
    let values = Array::row(all[start..end].to_vec());
    import.set(call, 0, Value::Constant(Constant::Numbers(values)));
    Ok(())
}

fn flatten(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let map = import.map(call, 0)?;
    let number = call.int("axis")?.unwrap_or(1);
    if number != 1 && number != 1 - map.axes.len() as i64 {
        return unsupported(format!("from axis {number} on"));
    }
    let [c, h, w] = import.shape(map.layer);
    into_shape(import, call, map, &[c * h * w])
}

fn reshape(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let target: Vec<Number> = match call.ints("shape") {
        Some(ints) => ints.iter().map(|&i| Number::Known(i)).collect(),
        None => match import.numbers(call, 1)? {
            // A layer that they matter to refuses maps of another size.
            Some(array) => {
                let own = |&n: &Number| if let Number::Image(n) = n { Number::Known(n) } else { n };
                array.values.iter().map(own).collect()
            }
            None => return wrong("has no shape"),
        },
    };
    let input = import.value(call, 0)?.clone();
    let (layer, sizes): (usize, Vec<Number>) = match &input {
        Value::Map(map) => (map.layer, map.axes.iter().map(|&a| import.extent(map.layer, a)).collect()),
        Value::Groups { layer, .. } => (*layer, vec![Number::Batch]),
        _ => return unsupported("of a constant"),
    };
    let [c, h, w] = import.shape(layer);
    let all = c * h * w;
    let copied: Vec<Number> = target
        .iter()
        .enumerate()
        .map(|(i, &t)| match t {
            Number::Known(0) if !call.flag("allowzero")? => {
                sizes.get(i).copied().map_or_else(|| wrong("copies a size that is not there"), Ok)
            }
            t => Ok(t),
        })
        .collect::<Result<_, _>>()?;
    let leads = |n: &Number| match n {
        Number::Batch | Number::Known(-1) => true,
        Number::Known(n) | Number::Image(n) => Some(*n) == import.batch,
    };
    let (Some(first), Some(Number::Batch)) = (copied.first(), sizes.first()) else {
        return unsupported("that mixes images");
    };
    let mut rest = vec![];
    let mut open = None;
    for (i, n) in copied[1..].iter().enumerate() {
        rest.push(match n {
            Number::Known(-1) if open.is_none() && *first != Number::Known(-1) => {
                open = Some(i);
                1
            }
            Number::Known(n) if *n >= 1 => *n as usize,
            _ => return unsupported(format!("to {}", described(&target))),
        });
    }
    let fixed =
        rest.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= all && all.is_multiple_of(n));
    if let (Some(open), Some(fixed)) = (open, fixed) {
        rest[open] = all / fixed;
    }
    if fixed.is_none_or(|n| open.is_none() && n != all) || !leads(first) {
        // The first size is that of one image, or a wrong one.
        return unsupported(format!("of [{c}, {h}, {w}] for each image to {}", described(&target)));
    }
    match input {
        Value::Groups { layer, groups, shuffled } => {
            if rest != [c, h, w] {
                return unsupported(format!("of five dimensions to {}", described(&target)));
            }
            let layer = match shuffled {
                true => import.push(call, None, Op::ShuffleChannels { groups }, &[layer], vec![])?,
                false => layer,
            };
            give(import, call, layer, MAP.into())
        }
        Value::Map(map) => into_shape(import, call, map, &rest),
        _ => unsupported("of a constant"),
    }
}

fn described(shape: &[Number]) -> String {
    let word = |n: &Number| match n {
        Number::Batch => "N".to_string(),
        Number::Known(n) | Number::Image(n) => n.to_string(),
    };
    format!("[{}]", shape.iter().map(word).collect::<Vec<_>>().join(", "))
}

/// The same values with these sizes for each image.
fn into_shape(import: &mut Import<'_>, call: &Call<'_>, map: Map, rest: &[usize]) -> Done {
    if map.axes.first() != Some(&Axis::Batch) {
        return unsupported("of a value whose first axis is not the images'");
    }
    let size = |import: &Import<'_>, axis: Axis| match import.extent(map.layer, axis) {
        Number::Known(n) | Number::Image(n) => n as usize,
        Number::Batch => 0,
    };
    let [c, h, w] = import.shape(map.layer);
    // Where only axes of size 1 come or go, the others keep their places.
    let long: Vec<Axis> = map.axes[1..].iter().copied().filter(|&a| size(import, a) != 1).collect();
    let sizes: Vec<usize> = long.iter().map(|&a| size(import, a)).collect();
    if sizes.iter().eq(rest.iter().filter(|&&n| n != 1)) {
        let mut spare: Vec<Axis> = MAP[1..].iter().copied().filter(|&a| size(import, a) == 1).collect();
        let mut next = long.into_iter();
        let mut axes = vec![Axis::Batch];
        for &n in rest {
            axes.push(match n {
                1 if spare.is_empty() => Axis::One,
                1 => spare.remove(0),
                _ => next.next().expect("as many as there are sizes"),
            });
        }
        return give(import, call, map.layer, axes);
    }
    if !long.is_sorted() {
        return unsupported("after a Transpose that mixes channels and places");
    }
    match *rest {
        [features] => {
            let layer = import.push(call, None, Op::Flatten { features }, &[map.layer], vec![])?;
            give(import, call, layer, MAP[..2].into())
        }
        [groups, each, rows, columns] if groups * each == c && [rows, columns] == [h, w] => {
            import.set(call, 0, Value::Groups { layer: map.layer, groups, shuffled: false });
            Ok(())
        }
        _ if rest.len() <= 3 => {
            let shape = std::array::from_fn(|d| rest.get(d).copied().unwrap_or(1));
            let layer = import.push(call, None, Op::Reshape { shape }, &[map.layer], vec![])?;
            give(import, call, layer, MAP[..=rest.len()].into())
        }
        _ => unsupported(format!("of [{c}, {h}, {w}] for each image to {rest:?}")),
    }
}

fn squeeze(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let map = import.map(call, 0)?;
    let single = |d: usize| import.extent(map.layer, map.axes[d]) == Number::Known(1);
    let numbers = match listed(import, call, "axes", 1)? {
        Some(axes) => axes.iter().map(|&a| axis(a, map.axes.len())).collect::<Result<Vec<_>, _>>()?,
        None => (0..map.axes.len()).filter(|&d| single(d)).collect(),
    };
    if let Some(&d) = numbers.iter().find(|&&d| !single(d)) {
        return match map.axes[d] {
            Axis::Batch => unsupported("of the images' axis"),
            _ => wrong(format!("takes away axis {d}, whose size is not 1")),
        };
    }
    let left = map.axes.iter().enumerate().filter(|(d, _)| !numbers.contains(d));
    let axes = left.map(|(_, &a)| a).collect();
    give(import, call, map.layer, axes)
}

fn unsqueeze(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let map = import.map(call, 0)?;
    let Some(numbers) = listed(import, call, "axes", 1)? else { return wrong("has no axes") };
    let count = map.axes.len() + numbers.len();
    let numbers = numbers.iter().map(|&a| axis(a, count)).collect::<Result<Vec<_>, _>>()?;
    let mut spare: Vec<Axis> = MAP[1..].iter().copied().filter(|a| !map.axes.contains(a)).collect();
    let mut old = map.axes.iter().copied();
    let mut axes = vec![];
    for d in 0..count {
        axes.push(if numbers.contains(&d) {
            if spare.is_empty() { Axis::One } else { spare.remove(0) }
        } else {
            match old.next() {
                Some(axis) => axis,
                None => return wrong("names an axis twice"),
            }
        });
    }
    if old.next().is_some() {
        return wrong("names an axis twice");
    }
    give(import, call, map.layer, axes)
}

fn transpose(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let value = import.value(call, 0)?.clone();
    let count = match &value {
        Value::Map(map) => map.axes.len(),
        _ => 5,
    };
    let order = order(call, count)?;
    match value {
        Value::Map(map) => {
            let axes = order.iter().map(|&d| map.axes[d]).collect();
            give(import, call, map.layer, axes)
        }
        Value::Groups { layer, groups, shuffled: false } if order == [0, 2, 1, 3, 4] => {
            import.set(call, 0, Value::Groups { layer, groups, shuffled: true });
            Ok(())
        }
        _ => unsupported(format!("of five dimensions to {order:?}")),
    }
}

/// The new order of `count` axes.
pub fn order(call: &Call<'_>, count: usize) -> Result<Vec<usize>, Refusal> {
    let Some(perm) = call.ints("perm") else { return Ok((0..count).rev().collect()) };
    let order = perm.iter().map(|&a| axis(a, count)).collect::<Result<Vec<_>, _>>()?;
    let mut sorted = order.clone();
    sorted.sort_unstable();
    match sorted.into_iter().eq(0..count) {
        true => Ok(order),
        false => wrong(format!("puts {count} axes in the order {perm:?}")),
    }
}

/// Numbers for channels, rows and columns, from numbers for some axes; `rest` for the others.
fn placed<T: Copy + PartialEq>(map: &Map, axes: &[usize], values: &[T], rest: T) -> Result<[T; 3], Refusal> {
    once(axes)?;
    let mut placed = [rest; 3];
    for (&d, &value) in axes.iter().zip(values) {
        match map.axes[d] {
            Axis::Channels => placed[0] = value,
            Axis::Rows => placed[1] = value,
            Axis::Columns => placed[2] = value,
            _ if value == rest => {}
            _ => return unsupported("along the images"),
        }
    }
    Ok(placed)
}

fn pad(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let map = import.map(call, 0)?;
    match call.text("mode")?.as_deref() {
        None | Some("constant") => {}
        Some(mode) => return unsupported(format!("in mode {mode}")),
    }
    let old = if call.ints("paddings").is_some() { "paddings" } else { "pads" };
    let Some(pads) = listed(import, call, old, 1)? else { return wrong("has no pads") };
    let value = match import.floats(call, 2)? {
        Some(Array { values, .. }) if values.len() == 1 => values[0],
        Some(array) => return wrong(format!("has a value of shape {:?}", array.dims)),
        None => call.float("value", 0.0)? as f32,
    };
    let axes = match listed(import, call, "", 3)? {
        Some(axes) => axes.iter().map(|&a| axis(a, map.axes.len())).collect::<Result<Vec<_>, _>>()?,
        None => (0..map.axes.len()).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return wrong(format!("has {} pads for {} axes", pads.len(), axes.len()));
    }
    if pads.iter().any(|&p| p < 0) {
        return unsupported(format!("by the negative pads {pads:?}"));
    }
    let pads: Vec<usize> = pads.iter().map(|&p| p as usize).collect();
    let (before, after) = pads.split_at(axes.len());
    let (before, after) = (placed(&map, &axes, before, 0)?, placed(&map, &axes, after, 0)?);
    let op = match (before, after) {
        ([c, 0, 0], [d, 0, 0]) if value == 0.0 => Op::PadChannels { before: c, after: d },
        _ => Op::Pad { before, after, value },
    };
    let layer = import.push(call, None, op, &[map.layer], vec![])?;
    give(import, call, layer, map.axes)
}

fn slice(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let map = import.map(call, 0)?;
    let (Some(starts), Some(ends)) = (listed(import, call, "starts", 1)?, listed(import, call, "ends", 2)?)
    else {
        return wrong("has no starts or no ends");
    };
    let axes = match listed(import, call, "axes", 3)? {
        Some(axes) => axes.iter().map(|&a| axis(a, map.axes.len())).collect::<Result<Vec<_>, _>>()?,
        None => (0..starts.len().min(map.axes.len())).collect(),
    };
    let steps = listed(import, call, "", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), steps.len(), axes.len()].iter().any(|&n| n != starts.len()) {
        return wrong("has starts, ends, axes and steps of different numbers");
    }
    if steps.iter().any(|&s| s < 1) {
        return unsupported(format!("with the steps {steps:?}"));
    }
    // All images, said in whatever way.
    let whole = |d: usize, k: usize| {
        let end = ends[k] >= import.batch.unwrap_or(i64::from(i32::MAX));
        map.axes[d] == Axis::Batch && starts[k] == 0 && end && steps[k] == 1
    };
    let kept: Vec<usize> = (0..axes.len()).filter(|&k| !whole(axes[k], k)).collect();
    let some = |list: &[i64]| -> Vec<i64> { kept.iter().map(|&k| list[k]).collect() };
    let axes: Vec<usize> = kept.iter().map(|&k| axes[k]).collect();
    let start = placed(&map, &axes, &some(&starts), 0)?;
    let end = placed(&map, &axes, &some(&ends), i64::MAX)?;
    let step = placed(&map, &axes, &some(&steps), 1)?.map(|s| s as usize);
    let op = match (start, end, step) {
        ([0, 0, 0], [i64::MAX, i64::MAX, i64::MAX], [1, y, x]) if y == x => Op::Subsample { stride: y },
        _ => Op::Slice { start, end, step },
    };
    let layer = import.push(call, None, op, &[map.layer], vec![])?;
    give(import, call, layer, map.axes)
}

/// One piece of an axis of a map.
fn piece(
    import: &mut Import<'_>,
    call: &Call<'_>,
    part: Option<&str>,
    map: &Map,
    axis: usize,
    [from, to]: [i64; 2],
) -> Result<usize, Refusal> {
    let start = placed(map, &[axis], &[from], 0)?;
    let end = placed(map, &[axis], &[to], i64::MAX)?;
    import.push(call, part, Op::Slice { start, end, step: [1; 3] }, &[map.layer], vec![])
}

fn split(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let map = import.map(call, 0)?;
    let at = axis(call.int("axis")?.unwrap_or(0), map.axes.len())?;
    let Number::Known(size) = import.extent(map.layer, map.axes[at]) else {
        return unsupported("of the images");
    };
    if import.varies(map.layer, map.axes[at]) {
        import.settle(call);
    }
    let count = call.node.output.len() as i64;
    let parts = match listed(import, call, "split", 1)? {
        Some(parts) => parts,
        None => {
            let each = (size + count - 1) / count.max(1);
            (0..count).map(|i| each.min(size - i * each)).collect()
        }
    };
    if parts.len() as i64 != count
        || parts.iter().any(|&p| p < 1)
        || parts.iter().try_fold(0i64, |n, &p| n.checked_add(p)) != Some(size)
    {
        return wrong(format!("splits {size} into {parts:?}"));
    }
    let mut from = 0;
    for (i, part) in parts.into_iter().enumerate() {
        let name = format!("{i}");
        let layer = piece(import, call, Some(&name), &map, at, [from, from + part])?;
        from += part;
        import.set(call, i, Value::Map(Map { layer, axes: map.axes.clone() }));
    }
    Ok(())
}

/// One position of an axis, as for single colour channels.
fn gather(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let map = import.map(call, 0)?;
    let at = axis(call.int("axis")?.unwrap_or(0), map.axes.len())?;
    let Some(Array { dims, values }) = import.numbers(call, 1)? else { return wrong("has no indices") };
    let (single, index) = match import.settled(call, values).as_deref() {
        Some(&[index]) if dims.len() <= 1 => (dims.is_empty(), index),
        _ => return unsupported("of more than one position"),
    };
    let Number::Known(size) = import.extent(map.layer, map.axes[at]) else {
        return unsupported("of single images");
    };
    if !(-size..size).contains(&index) {
        return wrong(format!("takes position {index} of {size}"));
    }
    if index < 0 && import.varies(map.layer, map.axes[at]) {
        import.settle(call);
    }
    let index = index.rem_euclid(size);
    let layer = piece(import, call, None, &map, at, [index, index + 1])?;
    let mut axes = map.axes;
    if single {
        axes.remove(at);
    }
    give(import, call, layer, axes)
}

fn resize(import: &mut Import<'_>, call: &Call<'_>) -> Done {
    let x = import.image(call, 0)?;
    let old = call.operator() == "Upsample" || import.opset < 11;
    // Upsample and Resize 10 take the scales second, Resize 11 a region of interest before them.
    let at = if old { 1 } else { 2 };
    let axes = match call.ints("axes") {
        Some(axes) => axes.iter().map(|&a| axis(a, 4)).collect::<Result<Vec<_>, _>>()?,
        None => vec![0, 1, 2, 3],
    };
    if axes.len() > 4 {
        return wrong(format!("names {} axes", axes.len()));
    }
    let scales = match call.floats("scales") {
        Some(scales) => Some(scales.to_vec()),
        None => import.floats(call, at)?.map(|a| a.values.clone()).filter(|s| !s.is_empty()),
    };
    let map = Map { layer: x, axes: MAP.into() };
    let [c, h, w] = import.shape(x);
    // How many images there are is not asked.
    let sizes: Option<Vec<i64>> = match if old { None } else { import.numbers(call, 3)? } {
        Some(array) if array.values.len() <= 4 => {
            let some = |n: &Number| if *n == Number::Batch { Number::Known(-1) } else { *n };
            import.settled(call, &array.values.iter().map(some).collect::<Vec<_>>())
        }
        Some(array) => return wrong(format!("has {} sizes", array.values.len())),
        None => None,
    };
    let target = match (scales, sizes.filter(|sizes| !sizes.is_empty())) {
        (Some(scales), None) if scales.len() == axes.len() => match placed(&map, &axes, &scales, 1.0)? {
            [1.0, y, x] if y > 0.0 && x > 0.0 && y.max(x) < 1e6 => Target::Scale([y, x]),
            scales => return unsupported(format!("by the scales {scales:?}")),
        },
        (None, Some(sizes)) if sizes.len() == axes.len() => {
            let kept = |k: &usize| axes[*k] != 0;
            let axes_left: Vec<usize> = (0..axes.len()).filter(kept).map(|k| axes[k]).collect();
            let sizes: Vec<i64> = (0..axes.len()).filter(kept).map(|k| sizes[k]).collect();
            let [sc, sh, sw] = placed(&map, &axes_left, &sizes, -1)?;
            let or = |size: i64, own: usize| if size == -1 { own as i64 } else { size };
            match [or(sc, c), or(sh, h), or(sw, w)] {
                [k, y, x] if k == c as i64 && y > 0 && x > 0 && y.max(x) < 1 << 20 => {
                    Target::Size([y as usize, x as usize])
                }
                sizes => return unsupported(format!("to the sizes {sizes:?}")),
            }
        }
        _ => return wrong("has neither scales nor sizes, both, or not as many as axes"),
    };
    if call.flag("antialias")? {
        return unsupported("with antialiasing");
    }
    if call.text("keep_aspect_ratio_policy")?.is_some_and(|p| p != "stretch") {
        return unsupported("that keeps the aspect ratio");
    }
    if call.flag("exclude_outside")? {
        return unsupported("that leaves out what lies outside");
    }
    let coordinates = match call.text("coordinate_transformation_mode")?.as_deref() {
        _ if old => Coordinates::Asymmetric,
        None | Some("half_pixel") => Coordinates::HalfPixel,
        Some("pytorch_half_pixel") => Coordinates::PytorchHalfPixel,
        Some("align_corners") => Coordinates::AlignCorners,
        Some("asymmetric") => Coordinates::Asymmetric,
        Some(other) => return unsupported(format!("with coordinates {other}")),
    };
    let rounding = match call.text("nearest_mode")?.as_deref() {
        _ if old => Rounding::Floor,
        None | Some("round_prefer_floor") => Rounding::PreferFloor,
        Some("round_prefer_ceil") => Rounding::PreferCeil,
        Some("floor") => Rounding::Floor,
        Some("ceil") => Rounding::Ceil,
        Some(other) => return wrong(format!("has the nearest_mode \"{other}\"")),
    };
    let interpolation = match call.text("mode")?.as_deref() {
        None | Some("nearest") => Interpolation::Nearest(rounding),
        Some("linear" | "bilinear") => Interpolation::Linear,
        Some("cubic") => Interpolation::Cubic(call.float("cubic_coeff_a", -0.75)? as f32),
        Some(other) => return unsupported(format!("in mode {other}")),
    };
    let op = Op::Resize(Resize { target, interpolation, coordinates });
    let layer = import.push(call, None, op, &[x], vec![])?;
    give(import, call, layer, MAP.into())
}
