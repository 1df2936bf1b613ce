//! Operators on constants, which are computed while the file is read.

use super::array::{Array, Constant, Number, places, product};
use super::call::Call;
use super::import::{Import, Refusal, Value};
use super::proto::elements;
use super::read::{once, order, unsupported, wrong};
use crate::op::Op;

/// The most values that a constant may have that the file does not spell out.
const LARGEST: usize = 1 << 22;

/// The most axes that can come or go at once.
const MOST_AXES: usize = 8;

/// Computes a node that reads nothing but constants; false, if it reads something else.
pub fn apply(import: &mut Import<'_>, call: &Call<'_>) -> Result<bool, Refusal> {
    let mut inputs = vec![];
    for at in 0..call.node.input.len() {
        match import.optional(call, at)? {
            None => inputs.push(None),
            Some(Value::Constant(constant)) => inputs.push(Some(constant)),
            Some(_) => return Ok(false),
        }
    }
    import.toil(inputs.iter().flatten().fold(0, |n, c| places(c.dims()).saturating_add(n)))?;
    let result = match call.operator() {
        "Constant" => constant(import, call)?,
        "ConstantOfShape" => of_shape(import, call)?,
        _ => {
            let Some(Some(first)) = inputs.first().copied() else {
                return wrong("has no input");
            };
            match call.operator() {
                "Identity" | "Dropout" => first.clone(),
                "Cast" => cast(import, call, first)?,
                "Add" | "Sub" | "Mul" | "Div" | "Sum" => {
                    let mut result = first.clone();
                    for other in inputs[1..].iter().flatten() {
                        result = arithmetic(import, call.operator(), &result, other)?;
                    }
                    result
                }
                "Abs" | "Ceil" | "Cos" | "Exp" | "Floor" | "Log" | "Neg" | "Not" | "Reciprocal" | "Relu"
                | "Sigmoid" | "Sin" | "Sqrt" => unary(call.operator(), first)?,
                "Equal" | "Max" | "Min" | "Mod" | "Pow" => {
                    let mut result = first.clone();
                    for other in inputs[1..].iter().flatten() {
                        result = arithmetic(import, call.operator(), &result, other)?;
                    }
                    result
                }
                "Where" => match inputs[..] {
                    [Some(Constant::Numbers(which)), Some(a), Some(b)] => choose(import, which, a, b)?,
                    _ => return wrong("has other than three inputs"),
                },
                "Clip" => each_number(first, |array| {
                    let bound = |at: usize, default: f32| match inputs.get(at) {
                        Some(Some(Constant::Floats(bound))) if bound.values.len() == 1 => bound.values[0],
                        _ => default,
                    };
                    let (least, most) = (bound(1, f32::NEG_INFINITY), bound(2, f32::INFINITY));
                    let values = array.values.iter().map(|v| v.max(least).min(most)).collect();
                    Ok(Array { dims: array.dims.clone(), values })
                })?,
                "BatchNormalization" => standardized(call, &inputs)?,
                "Einsum" => match inputs[..] {
                    [Some(Constant::Floats(a)), Some(Constant::Floats(b))] => einsum(import, call, a, b)?,
                    _ => return unsupported("of other than two constants"),
                },
                "Range" => range(import, call)?,
                "ScatterND" => match inputs[..] {
                    [Some(Constant::Floats(a)), _, Some(Constant::Floats(b))] => {
                        Constant::Floats(scattered(import, call, a, b)?)
                    }
                    [Some(Constant::Numbers(a)), _, Some(Constant::Numbers(b))] => {
                        Constant::Numbers(scattered(import, call, a, b)?)
                    }
                    _ => return wrong("has other than values, places and new values of one type"),
                },
                "DequantizeLinear" => match inputs[..] {
                    [Some(Constant::Numbers(x)), Some(Constant::Floats(scale)), ref zero @ ..] => {
                        let zero = match zero {
                            [] | [None] => None,
                            [Some(Constant::Numbers(zero))] => Some(zero),
                            _ => return wrong("has a zero point that is no whole number"),
                        };
                        Constant::Floats(dequantized(import, call, x, scale, zero)?)
                    }
                    _ => return wrong("has other than whole numbers, a scale and a zero point"),
                },
                "CumSum" => each_number(first, |a| cumulated(import, call, a))?,
                "MatMul" => match inputs[..] {
                    [Some(Constant::Floats(a)), Some(Constant::Floats(b))] => product_of(import, a, b)?,
                    _ => return wrong("has other than two factors"),
                },
                "ReduceMean" | "ReduceSum" => each_number(first, |a| reduced(import, call, a))?,
                "Expand" => expand(import, call, first)?,
                "Tile" => each(first, |a| tile(import, call, a), |a| tile(import, call, a))?,
                "Concat" => concat(call, &inputs.iter().copied().flatten().collect::<Vec<_>>())?,
                "Shape" => numbers(first.dims().iter().map(|&d| d as i64).collect()),
                "Reshape" => each(first, |a| reshape(import, call, a), |a| reshape(import, call, a))?,
                "Squeeze" | "Unsqueeze" => {
                    each(first, |a| squeeze(import, call, a), |a| squeeze(import, call, a))?
                }
                "Transpose" => each(first, |a| transpose(call, a), |a| transpose(call, a))?,
                "Slice" => each(first, |a| slice(import, call, a), |a| slice(import, call, a))?,
                "Gather" => each(first, |a| gather(import, call, a), |a| gather(import, call, a))?,
                "GatherND" => each(first, |a| gathered(import, call, a), |a| gathered(import, call, a))?,
                // By layers, as if it depended on the image.
                _ if Op::reader(call.operator()).is_some() => return Ok(false),
                _ => return unsupported("on constants"),
            }
        }
    };
    match call.operator() {
        // A tensor is counted when it is read.
        "Constant" if call.tensor("value").is_some() => {}
        "Constant" => import.hold(result.count()),
        _ => import.spend(result.count())?,
    }
    import.set(call, 0, Value::Constant(result));
    Ok(true)
}

fn numbers(values: Vec<i64>) -> Constant {
    Constant::Numbers(Array::row(values.into_iter().map(Number::Known).collect()))
}

fn each(
    constant: &Constant,
    floats: impl Fn(&Array<f32>) -> Result<Array<f32>, Refusal>,
    numbers: impl Fn(&Array<Number>) -> Result<Array<Number>, Refusal>,
) -> Result<Constant, Refusal> {
    Ok(match constant {
        Constant::Floats(array) => Constant::Floats(floats(array)?),
        Constant::Numbers(array) => Constant::Numbers(numbers(array)?),
    })
}

fn constant(import: &mut Import<'_>, call: &Call<'_>) -> Result<Constant, Refusal> {
    if let Some(tensor) = call.tensor("value") {
        return import.read(tensor).map_err(Refusal::Wrong);
    }
    if let Some(value) = call.int("value_int")? {
        return Ok(Constant::Numbers(Array { dims: vec![], values: vec![Number::Known(value)] }));
    }
    if let Some(ints) = call.ints("value_ints") {
        return Ok(numbers(ints.to_vec()));
    }
    if let Some(floats) = call.floats("value_floats") {
        return Ok(Constant::Floats(Array::row(floats.to_vec())));
    }
    if call.has("value_float") {
        let value = call.float("value_float", 0.0)? as f32;
        return Ok(Constant::Floats(Array { dims: vec![], values: vec![value] }));
    }
    unsupported("without a value that is a number")
}

/// Whole numbers none of which depends on how many images there are.
fn fixed(import: &Import<'_>, call: &Call<'_>, array: &Array<Number>) -> Result<Vec<i64>, Refusal> {
    match import.settled(call, &array.values) {
        Some(numbers) => Ok(numbers),
        None => unsupported("with the number of images: export it for one image, without dynamic axes"),
    }
}

fn input(import: &Import<'_>, call: &Call<'_>, at: usize) -> Result<Option<Vec<i64>>, Refusal> {
    import.numbers(call, at)?.map(|array| fixed(import, call, array)).transpose()
}

fn sizes(list: &[i64]) -> Result<Vec<usize>, Refusal> {
    let size = |&n: &i64| usize::try_from(n).map_err(|_| Refusal::Wrong(format!("asks for the size {n}")));
    list.iter().map(size).collect()
}

fn of_shape(import: &mut Import<'_>, call: &Call<'_>) -> Result<Constant, Refusal> {
    let Some(dims) = input(import, call, 0)? else { return wrong("has no shape") };
    let dims = sizes(&dims)?;
    let count = product(&dims).filter(|&n| n <= LARGEST && dims.len() <= 8);
    let Some(count) = count else {
        return wrong(format!("asks for a constant of shape {dims:?}, which is too large"));
    };
    let value = match call.tensor("value") {
        Some(tensor) => import.read(tensor).map_err(Refusal::Wrong)?,
        None => Constant::Floats(Array::row(vec![0.0])),
    };
    match value {
        Constant::Floats(Array { values, .. }) if values.len() == 1 => {
            Ok(Constant::Floats(Array { values: vec![values[0]; count], dims }))
        }
        Constant::Numbers(Array { values, .. }) if values.len() == 1 => {
            Ok(Constant::Numbers(Array { values: vec![values[0]; count], dims }))
        }
        _ => wrong("has a value that is not one number"),
    }
}

fn cast(import: &Import<'_>, call: &Call<'_>, constant: &Constant) -> Result<Constant, Refusal> {
    let to = call.int("to")?.and_then(|t| i32::try_from(t).ok()).unwrap_or(0);
    let whole = [elements::INT64, elements::INT32, elements::INT8, elements::UINT8, elements::BOOL];
    if !whole.contains(&to) && !elements::FRACTIONS.contains(&to) {
        return unsupported(format!("to elements of a type that Trompe does not know ({to})"));
    }
    Ok(match constant {
        Constant::Floats(array) if whole.contains(&to) => {
            let values = array.values.iter().map(|&v| Number::Known(v as i64)).collect();
            Constant::Numbers(Array { dims: array.dims.clone(), values })
        }
        Constant::Numbers(array) if !whole.contains(&to) => {
            let values = fixed(import, call, array)?.into_iter().map(|v| v as f32).collect();
            Constant::Floats(Array { dims: array.dims.clone(), values })
        }
        same => same.clone(),
    })
}

/// Two constants in the one shape that they broadcast to.
struct Pair<T, U = T> {
    dims: Vec<usize>,
    values: std::iter::Zip<std::vec::IntoIter<T>, std::vec::IntoIter<U>>,
}

fn broadcast<T: Clone, U: Clone>(
    import: &Import<'_>,
    a: &Array<T>,
    b: &Array<U>,
) -> Result<Pair<T, U>, Refusal> {
    let n = a.dims.len().max(b.dims.len());
    let widened = |own: &[usize]| [&vec![1; n - own.len()], own].concat();
    let (x, y) = (widened(&a.dims), widened(&b.dims));
    let mut dims = vec![];
    for (&p, &q) in x.iter().zip(&y) {
        match (p, q) {
            (p, q) if p == q || q == 1 => dims.push(p),
            (1, q) => dims.push(q),
            _ => return wrong(format!("joins constants of shapes {:?} and {:?}", a.dims, b.dims)),
        }
    }
    if product(&dims).is_none_or(|n| n > LARGEST) {
        return wrong(format!("makes a constant of shape {dims:?}, which is too large"));
    }
    import.toil(places(&dims))?;
    fn spread<T: Clone>(array: &Array<T>, own: Vec<usize>, dims: &[usize]) -> Vec<T> {
        let mut array = Array { dims: own, values: array.values.clone() };
        for (d, &wide) in dims.iter().enumerate() {
            if array.dims[d] != wide {
                array = array.taken(d, &vec![0; wide]);
            }
        }
        array.values
    }
    let values = spread(a, x, &dims).into_iter().zip(spread(b, y, &dims));
    Ok(Pair { dims, values })
}

/// A function of each number.
fn unary(operator: &str, constant: &Constant) -> Result<Constant, Refusal> {
    match constant {
        Constant::Floats(array) => {
            let of = |&v: &f32| match operator {
                "Abs" => v.abs(),
                "Ceil" => v.ceil(),
                "Cos" => v.cos(),
                "Exp" => v.exp(),
                "Floor" => v.floor(),
                "Log" => v.ln(),
                "Neg" => -v,
                "Reciprocal" => 1.0 / v,
                "Relu" => v.max(0.0),
                "Sigmoid" => 1.0 / (1.0 + (-v).exp()),
                "Sin" => v.sin(),
                _ => v.sqrt(),
            };
            let values = array.values.iter().map(of).collect();
            Ok(Constant::Floats(Array { dims: array.dims.clone(), values }))
        }
        Constant::Numbers(array) => {
            let of = |n: &Number| match (operator, n) {
                ("Ceil" | "Floor", n) => Ok(*n),
                ("Not", Number::Known(n)) => Ok(Number::Known((*n == 0).into())),
                ("Neg", Number::Known(n)) => Ok(Number::Known(n.saturating_neg())),
                ("Neg", Number::Image(n)) => Ok(Number::Image(n.saturating_neg())),
                ("Abs", Number::Known(n)) => Ok(Number::Known(n.saturating_abs())),
                _ => unsupported("of whole numbers"),
            };
            let values = array.values.iter().map(of).collect::<Result<_, _>>()?;
            Ok(Constant::Numbers(Array { dims: array.dims.clone(), values }))
        }
    }
}

/// (x − zero) · scale, with one scale and zero point for all, or one for each position along an axis.
fn dequantized(
    import: &Import<'_>,
    call: &Call<'_>,
    x: &Array<Number>,
    scale: &Array<f32>,
    zero: Option<&Array<Number>>,
) -> Result<Array<f32>, Refusal> {
    let values = fixed(import, call, x)?;
    let zero = zero.map(|zero| fixed(import, call, zero)).transpose()?.unwrap_or_default();
    let (each, count) = match scale.values.len() {
        1 => (values.len().max(1), 1),
        count => {
            let axis = super::read::axis(call.int("axis")?.unwrap_or(1), x.dims.len())?;
            if scale.dims.len() > 1 || x.dims[axis] != count {
                return unsupported(format!("of shape {:?} with scales of shape {:?}", x.dims, scale.dims));
            }
            (places(&x.dims[axis + 1..]), count)
        }
    };
    if !zero.is_empty() && zero.len() != count {
        return wrong(format!("has {count} scales and {} zero points", zero.len()));
    }
    let of = |(at, value): (usize, &i64)| {
        let k = at / each % count;
        (value - zero.get(k).copied().unwrap_or(0)) as f32 * scale.values[k]
    };
    Ok(Array { dims: x.dims.clone(), values: values.iter().enumerate().map(of).collect() })
}

/// Where a number is not 0 the first, elsewhere the second.
fn choose(
    import: &Import<'_>,
    which: &Array<Number>,
    a: &Constant,
    b: &Constant,
) -> Result<Constant, Refusal> {
    fn chosen<T: Copy>(
        import: &Import<'_>,
        which: &Array<Number>,
        a: &Array<T>,
        b: &Array<T>,
    ) -> Result<Array<T>, Refusal> {
        let a = in_shape(import, a, b)?;
        let which = in_shape(import, which, &a)?;
        let (a, b) = (in_shape(import, &a, &which)?, in_shape(import, b, &which)?);
        let pairs = a.values.into_iter().zip(b.values);
        let pick = |(which, (a, b)): (&Number, (T, T))| if *which == Number::Known(0) { b } else { a };
        let values = which.values.iter().zip(pairs).map(pick).collect();
        Ok(Array { dims: which.dims, values })
    }
    match (a, b) {
        (Constant::Numbers(a), Constant::Numbers(b)) => Ok(Constant::Numbers(chosen(import, which, a, b)?)),
        (Constant::Floats(a), Constant::Floats(b)) => Ok(Constant::Floats(chosen(import, which, a, b)?)),
        _ => wrong("joins whole numbers and fractions"),
    }
}

/// Whole numbers from a first to before a last, in steps.
fn range(import: &Import<'_>, call: &Call<'_>) -> Result<Constant, Refusal> {
    let one = |at: usize| match input(import, call, at)?.as_deref() {
        Some(&[n]) => Ok(n),
        _ => wrong("has other than three numbers"),
    };
    let (first, last, step) = (one(0)?, one(1)?, one(2)?);
    if step == 0 {
        return wrong("has the step 0");
    }
    let count = (i128::from(last) - i128::from(first)) / i128::from(step)
        + i128::from((i128::from(last) - i128::from(first)) % i128::from(step) != 0);
    match usize::try_from(count.max(0)).ok().filter(|&n| n <= LARGEST) {
        Some(n) => Ok(numbers((0..n as i64).map(|i| first + i * step).collect())),
        None => wrong("makes a constant that is too large"),
    }
}

/// A constant with other values at some places.
fn scattered<T: Copy>(
    import: &Import<'_>,
    call: &Call<'_>,
    array: &Array<T>,
    updates: &Array<T>,
) -> Result<Array<T>, Refusal> {
    if call.text("reduction")?.is_some_and(|how| how != "none") {
        return unsupported("that adds or multiplies");
    }
    let Some(indices) = import.numbers(call, 1)? else { return wrong("has no indices") };
    let depth = indices.dims.last().copied().unwrap_or(0);
    if depth == 0 || depth > array.dims.len() {
        return wrong(format!("has indices of the shape {:?}", indices.dims));
    }
    let each: usize = array.dims[depth..].iter().product();
    let places = fixed(import, call, indices)?;
    if places.len() / depth * each != updates.values.len() {
        return wrong("has as many values as it has no places for");
    }
    let mut scattered = array.clone();
    for (i, place) in places.chunks(depth).enumerate() {
        let at = position(place, &array.dims, "writes to")?;
        scattered.values[at * each..][..each].copy_from_slice(&updates.values[i * each..][..each]);
    }
    Ok(scattered)
}

/// Where the part of an array begins that a row of indices names, counted in parts of that size; negative ones count from the end.
fn position(place: &[i64], dims: &[usize], does: &str) -> Result<usize, Refusal> {
    let mut at = 0;
    for (&p, &n) in place.iter().zip(dims) {
        if !(-(n as i64)..n as i64).contains(&p) {
            return wrong(format!("{does} position {p} of {n}"));
        }
        at = at * n + p.rem_euclid(n as i64) as usize;
    }
    Ok(at)
}

/// Parts of a constant, each at the place that a row of indices says.
fn gathered<T: Clone>(import: &Import<'_>, call: &Call<'_>, array: &Array<T>) -> Result<Array<T>, Refusal> {
    if call.int("batch_dims")?.unwrap_or(0) != 0 {
        return unsupported("with batch_dims");
    }
    let Some(indices) = import.numbers(call, 1)? else { return wrong("has no indices") };
    let depth = indices.dims.last().copied().unwrap_or(0);
    if depth == 0 || depth > array.dims.len() {
        return wrong(format!("has indices of the shape {:?}", indices.dims));
    }
    let [outer, inner] = [&indices.dims[..indices.dims.len() - 1], &array.dims[depth..]];
    let dims = [outer, inner].concat();
    if product(&dims).is_none_or(|n| n > LARGEST) {
        return wrong(format!("makes a constant of shape {dims:?}, which is too large"));
    }
    let each: usize = inner.iter().product();
    let mut values = vec![];
    for place in fixed(import, call, indices)?.chunks(depth) {
        let at = position(place, &array.dims, "takes")?;
        values.extend_from_slice(&array.values[at * each..][..each]);
    }
    match Array::row(values).reshaped(dims) {
        Some(array) => Ok(array),
        None => wrong("makes a constant of too many dimensions"),
    }
}

/// A constant in a larger shape; it stays the same for every image.
fn expand(import: &Import<'_>, call: &Call<'_>, constant: &Constant) -> Result<Constant, Refusal> {
    let Some(target) = import.numbers(call, 1)? else { return wrong("has no shape") };
    let once = |n: &Number| if *n == Number::Batch { Number::Known(1) } else { *n };
    let target: Vec<Number> = target.values.iter().map(once).collect();
    let dims = sizes(&fixed(import, call, &Array::row(target))?)?;
    let Some(count) = product(&dims).filter(|&n| n <= LARGEST) else {
        return wrong(format!("makes a constant of shape {dims:?}, which is too large"));
    };
    let shape = Array { dims, values: vec![(); count] };
    each(constant, |array| in_shape(import, array, &shape), |array| in_shape(import, array, &shape))
}

/// The first of two arrays in the shape that both broadcast to.
fn in_shape<T: Copy, U: Clone>(
    import: &Import<'_>,
    array: &Array<T>,
    other: &Array<U>,
) -> Result<Array<T>, Refusal> {
    let Pair { dims, values } = broadcast(import, array, other)?;
    Ok(Array { dims, values: values.map(|(own, _)| own).collect() })
}

/// A function of fractions alone.
fn each_number(
    constant: &Constant,
    of: impl Fn(&Array<f32>) -> Result<Array<f32>, Refusal>,
) -> Result<Constant, Refusal> {
    match constant {
        Constant::Floats(array) => Ok(Constant::Floats(of(array)?)),
        Constant::Numbers(_) => unsupported("of whole numbers"),
    }
}

/// Sums up to each position of an axis.
fn cumulated(import: &Import<'_>, call: &Call<'_>, array: &Array<f32>) -> Result<Array<f32>, Refusal> {
    if call.flag("exclusive")? || call.flag("reverse")? {
        return unsupported("that leaves its own value out, or goes backwards");
    }
    let d = match input(import, call, 1)?.as_deref() {
        Some(&[d]) => axis(d, array.dims.len())?,
        _ => return wrong("has no axis"),
    };
    let inner: usize = array.dims[d + 1..].iter().product();
    let mut values = array.values.clone();
    for i in 0..values.len() {
        if !(i / inner.max(1)).is_multiple_of(array.dims[d]) {
            values[i] += values[i - inner];
        }
    }
    Ok(Array { dims: array.dims.clone(), values })
}

/// The matrix product of a constant's last axis and a matrix.
fn product_of(import: &Import<'_>, a: &Array<f32>, b: &Array<f32>) -> Result<Constant, Refusal> {
    let (Some(&k), &[rows, columns]) = (a.dims.last(), &b.dims[..]) else {
        return unsupported("of constants that are no matrices");
    };
    if k != rows || k == 0 {
        return wrong(format!("multiplies constants of shapes {:?} and {:?}", a.dims, b.dims));
    }
    let count = (a.values.len() / k).checked_mul(columns).filter(|&n| n <= LARGEST);
    let Some(count) = count else { return wrong("makes a constant that is too large") };
    import.toil(count.saturating_mul(k))?;
    let row = |r: &[f32]| -> Vec<f32> {
        (0..columns).map(|c| r.iter().enumerate().map(|(i, v)| v * b.values[i * columns + c]).sum()).collect()
    };
    let values = a.values.chunks(k).flat_map(row).collect();
    let dims = a.dims[..a.dims.len() - 1].iter().copied().chain([columns]).collect();
    Ok(Constant::Floats(Array { dims, values }))
}

/// The mean or the sum along axes.
fn reduced(import: &Import<'_>, call: &Call<'_>, array: &Array<f32>) -> Result<Array<f32>, Refusal> {
    let axes = match call.ints("axes") {
        Some(axes) => axes.to_vec(),
        None => input(import, call, 1)?.unwrap_or_else(|| (0..array.dims.len() as i64).collect()),
    };
    let axes =
        axes.iter().take(MOST_AXES + 1).map(|&a| axis(a, array.dims.len())).collect::<Result<Vec<_>, _>>()?;
    once(&axes)?;
    let kept: Vec<usize> = (0..array.dims.len()).filter(|d| !axes.contains(d)).collect();
    let order: Vec<usize> = kept.iter().chain(&axes).copied().collect();
    let each: usize = axes.iter().map(|&d| array.dims[d]).product();
    if each == 0 {
        return wrong("is over nothing");
    }
    import.toil(array.values.len())?;
    let of = |values: &[f32]| {
        let sum: f64 = values.iter().map(|&v| f64::from(v)).sum();
        (if call.operator() == "ReduceMean" { sum / each as f64 } else { sum }) as f32
    };
    let values = array.transposed(&order).values.chunks(each).map(of).collect();
    let keep = call.int("keepdims")?.unwrap_or(1) != 0;
    let dims = match keep {
        true => (0..array.dims.len()).map(|d| if axes.contains(&d) { 1 } else { array.dims[d] }).collect(),
        false => kept.iter().map(|&d| array.dims[d]).collect(),
    };
    Ok(Array { dims, values })
}

/// Each channel with the mean 0 and the variance 1, as weights are standardized, times a scale and with a shift. Mean and variance
/// before are the channel's own in training mode, and else given.
fn standardized(call: &Call<'_>, inputs: &[Option<&Constant>]) -> Result<Constant, Refusal> {
    let [Some(Constant::Floats(x)), Some(Constant::Floats(scale)), Some(Constant::Floats(shift)), ..] =
        inputs
    else {
        return wrong("has other than an input, a scale and a shift");
    };
    let [1, channels, ..] = x.dims[..] else { return unsupported("of a constant of more than one row") };
    let given = match (call.flag("training_mode")?, inputs) {
        (true, _) => None,
        (false, [_, _, _, Some(Constant::Floats(means)), Some(Constant::Floats(variances))]) => {
            Some([means, variances])
        }
        _ => return wrong("has no means and variances"),
    };
    let parameters = [scale, shift].into_iter().chain(given.into_iter().flatten());
    if parameters.into_iter().any(|array| array.dims != [channels]) || x.values.is_empty() {
        return wrong(format!("has parameters of the wrong shape for {channels} channels"));
    }
    let epsilon = call.float("epsilon", 1e-5)?;
    let each = x.values.len() / channels;
    let mut values = Vec::with_capacity(x.values.len());
    for (c, own) in x.values.chunks(each).enumerate() {
        let [mean, variance] = match given {
            Some(given) => given.map(|array| f64::from(array.values[c])),
            None => {
                let mean = own.iter().map(|&v| f64::from(v)).sum::<f64>() / each as f64;
                [mean, own.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / each as f64]
            }
        };
        let factor = f64::from(scale.values[c]) / (variance + epsilon).sqrt();
        values.extend(own.iter().map(|&v| ((f64::from(v) - mean) * factor) as f32 + shift.values[c]));
    }
    Ok(Constant::Floats(Array { dims: x.dims.clone(), values }))
}

/// A sum of products of two constants over the letters that the result lacks.
fn einsum(import: &Import<'_>, call: &Call<'_>, a: &Array<f32>, b: &Array<f32>) -> Result<Constant, Refusal> {
    let equation = call.text("equation")?.unwrap_or_default().replace(' ', "");
    let Some((x, y, output)) = equation
        .split_once("->")
        .and_then(|(inputs, output)| inputs.split_once(',').map(|(x, y)| (x, y, output)))
    else {
        return unsupported(format!("of the equation \"{equation}\""));
    };
    let mut letters: Vec<char> = output.chars().collect();
    letters.extend(x.chars().chain(y.chars()).filter(|c| !output.contains(*c)));
    let mut seen = std::collections::HashSet::new();
    letters.retain(|c| seen.insert(*c));
    let mut sizes = vec![0; letters.len()];
    for (text, array) in [(x, a), (y, b)] {
        if text.chars().count() != array.dims.len() {
            return wrong(format!(
                "has the equation \"{equation}\" for a constant of shape {:?}",
                array.dims
            ));
        }
        for (c, &n) in text.chars().zip(&array.dims) {
            let at = letters.iter().position(|own| *own == c).expect("every letter is there");
            if sizes[at] != 0 && sizes[at] != n {
                return wrong(format!("has two sizes for {c}, {} and {n}", sizes[at]));
            }
            sizes[at] = n;
        }
    }
    if sizes.contains(&0) {
        return unsupported(format!("of the equation \"{equation}\" for these constants"));
    }
    let count = output.chars().count();
    let dims = sizes[..count].to_vec();
    let all = product(&sizes).unwrap_or(usize::MAX);
    import.toil(all)?;
    let Some(made) = product(&dims).filter(|&n| n <= LARGEST) else {
        return wrong(format!("makes a constant of shape {dims:?}, which is too large"));
    };
    // How far a step of each letter goes in each constant.
    let steps = [(x, a), (y, b)].map(|(text, array)| {
        letters
            .iter()
            .map(|c| {
                let places = text.chars().enumerate().filter(|(_, own)| own == c);
                places.map(|(d, _)| array.dims[d + 1..].iter().product::<usize>()).sum()
            })
            .collect::<Vec<usize>>()
    });
    let mut values = vec![0f32; made];
    let mut at = vec![0; sizes.len()];
    for i in 0..all {
        let place = |steps: &[usize]| -> usize { at.iter().zip(steps).map(|(i, step)| i * step).sum() };
        values[i / (all / made)] += a.values[place(&steps[0])] * b.values[place(&steps[1])];
        for d in (0..at.len()).rev() {
            at[d] += 1;
            if at[d] < sizes[d] {
                break;
            }
            at[d] = 0;
        }
    }
    Ok(Constant::Floats(Array { dims, values }))
}

/// A constant, repeated along each axis.
fn tile<T: Clone>(import: &Import<'_>, call: &Call<'_>, array: &Array<T>) -> Result<Array<T>, Refusal> {
    let Some(times) = input(import, call, 1)? else { return wrong("has no repeats") };
    let times = sizes(&times)?;
    let dims: Vec<usize> = array.dims.iter().zip(&times).map(|(n, t)| n.saturating_mul(*t)).collect();
    if times.len() != array.dims.len() || product(&dims).is_none_or(|n| n > LARGEST) {
        return wrong(format!("repeats a constant of shape {:?} {times:?} times", array.dims));
    }
    let mut tiled = array.clone();
    for (d, &n) in dims.iter().enumerate() {
        let own = array.dims[d].max(1);
        tiled = tiled.taken(d, &(0..n).map(|i| i % own).collect::<Vec<_>>());
    }
    Ok(tiled)
}

fn arithmetic(import: &Import<'_>, operator: &str, a: &Constant, b: &Constant) -> Result<Constant, Refusal> {
    match (a, b) {
        (Constant::Floats(a), Constant::Floats(b)) => {
            let Pair { dims, values } = broadcast(import, a, b)?;
            let of = |(a, b): (f32, f32)| match operator {
                "Sub" => a - b,
                "Mul" => a * b,
                "Div" => a / b,
                "Pow" => a.powf(b),
                "Max" => a.max(b),
                "Min" => a.min(b),
                _ => a + b,
            };
            if operator == "Equal" {
                let values = values.map(|(a, b)| Number::Known((a == b).into())).collect();
                return Ok(Constant::Numbers(Array { dims, values }));
            }
            Ok(Constant::Floats(Array { dims, values: values.map(of).collect() }))
        }
        (Constant::Numbers(a), Constant::Numbers(b)) => {
            let Pair { dims, values } = broadcast(import, a, b)?;
            // Where the file fixes how many images there are, that is a number as any other.
            let own = |n: Number| match (n, import.batch) {
                (Number::Batch, Some(images)) => Number::Known(images),
                (Number::Times(times), Some(images)) => Number::Known(times.saturating_mul(images)),
                _ => n,
            };
            let plain = |(a, b): (Number, Number)| match (operator, a, b) {
                ("Mul" | "Div", Number::Batch, Number::Known(1))
                | ("Add" | "Sub" | "Sum", Number::Batch, Number::Known(0))
                | ("Equal", Number::Batch, Number::Known(-1) | Number::Batch) => (a, b),
                _ => (own(a), own(b)),
            };
            let of = |(a, b): (Number, Number)| match (operator, a, b) {
                ("Equal", Number::Batch, other) | ("Equal", other, Number::Batch) => {
                    Ok(Number::Known((other == Number::Batch).into()))
                }
                ("Mul" | "Div", Number::Batch, Number::Known(1))
                | ("Add" | "Sub" | "Sum", Number::Batch, Number::Known(0)) => Ok(Number::Batch),
                ("Equal", Number::Times(_), other) | ("Equal", other, Number::Times(_)) => {
                    Ok(Number::Known((a == b && other == a).into()))
                }
                // Only shapes are computed from these, and what is reshaped has its own size.
                (
                    "Mul",
                    Number::Batch | Number::Times(_),
                    Number::Known(n @ 1..) | Number::Image(n @ 1..),
                )
                | (
                    "Mul",
                    Number::Known(n @ 1..) | Number::Image(n @ 1..),
                    Number::Batch | Number::Times(_),
                ) => {
                    let times = a.times().or(b.times()).expect("one is a multiple");
                    match times.checked_mul(n) {
                        Some(times) => Ok(Number::images(times)),
                        None => wrong(format!("computes with {times} and {n}")),
                    }
                }
                (
                    "Div",
                    Number::Batch | Number::Times(_),
                    Number::Known(n @ 1..) | Number::Image(n @ 1..),
                ) if a.times().is_some_and(|times| times % n == 0) => {
                    Ok(Number::images(a.times().expect("it is a multiple") / n))
                }
                ("Div", Number::Batch | Number::Times(_), Number::Batch | Number::Times(_))
                    if a.times().zip(b.times()).is_some_and(|(x, y)| x % y == 0) =>
                {
                    let (x, y) = a.times().zip(b.times()).expect("both are multiples");
                    Ok(Number::Known(x / y))
                }
                (_, Number::Known(x) | Number::Image(x), Number::Known(y) | Number::Image(y)) => {
                    let value = match operator {
                        "Sub" => x.checked_sub(y),
                        "Mul" => x.checked_mul(y),
                        "Div" => x.checked_div(y),
                        "Equal" => Some((x == y).into()),
                        "Max" => Some(x.max(y)),
                        "Min" => Some(x.min(y)),
                        "Mod" => x.checked_rem_euclid(y).filter(|_| y > 0),
                        "Pow" => u32::try_from(y).ok().and_then(|y| x.checked_pow(y)),
                        _ => x.checked_add(y),
                    };
                    match (value, a, b) {
                        (None, ..) => wrong(format!("computes with {x} and {y}")),
                        (Some(value), Number::Known(_), Number::Known(_)) => Ok(Number::Known(value)),
                        (Some(value), ..) => Ok(Number::Image(value)),
                    }
                }
                _ => unsupported("with the number of images: export it for one image, without dynamic axes"),
            };
            let values = values.map(plain).map(of).collect::<Result<_, _>>()?;
            Ok(Constant::Numbers(Array { dims, values }))
        }
        _ => wrong("joins whole numbers and fractions"),
    }
}

/// An axis by its number, which may count from the end.
fn axis(number: i64, axes: usize) -> Result<usize, Refusal> {
    let n = axes as i64;
    match number {
        a if (0..n).contains(&a) => Ok(a as usize),
        a if (-n..0).contains(&a) => Ok((a + n) as usize),
        a => wrong(format!("names the axis {a} of a constant that has {n}")),
    }
}

fn concat(call: &Call<'_>, inputs: &[&Constant]) -> Result<Constant, Refusal> {
    fn joined<T: Clone>(call: &Call<'_>, arrays: &[&Array<T>]) -> Result<Array<T>, Refusal> {
        let dims = arrays[0].dims.clone();
        let axis = axis(call.int("axis")?.unwrap_or(0), dims.len())?;
        let outer = |a: &Array<T>| a.dims[..axis].to_vec();
        let inner = |a: &Array<T>| a.dims[axis + 1..].to_vec();
        if arrays
            .iter()
            .any(|a| a.dims.len() != dims.len() || outer(a) != dims[..axis] || inner(a) != dims[axis + 1..])
        {
            return wrong("joins constants of different shapes");
        }
        let mut joint = dims.clone();
        joint[axis] = arrays.iter().fold(0, |n, a| a.dims[axis].saturating_add(n));
        let Some(count) = product(&joint).filter(|&n| n <= LARGEST) else {
            return wrong(format!("makes a constant of shape {joint:?}, which is too large"));
        };
        let rows = if count == 0 { 0 } else { product(&dims[..axis]).unwrap_or(0) };
        let mut values = Vec::with_capacity(count);
        for row in 0..rows {
            for array in arrays {
                let length: usize = array.dims[axis..].iter().product();
                values.extend_from_slice(&array.values[row * length..][..length]);
            }
        }
        Ok(Array { dims: joint, values })
    }
    let floats: Vec<_> =
        inputs.iter().filter_map(|c| if let Constant::Floats(a) = c { Some(a) } else { None }).collect();
    let numbers: Vec<_> =
        inputs.iter().filter_map(|c| if let Constant::Numbers(a) = c { Some(a) } else { None }).collect();
    match (floats.len(), numbers.len()) {
        (n, 0) if n > 0 => Ok(Constant::Floats(joined(call, &floats)?)),
        (0, n) if n > 0 => Ok(Constant::Numbers(joined(call, &numbers)?)),
        _ => wrong("joins whole numbers and fractions"),
    }
}

fn reshape<T: Clone>(import: &Import<'_>, call: &Call<'_>, array: &Array<T>) -> Result<Array<T>, Refusal> {
    let target = match call.ints("shape") {
        Some(ints) => ints.to_vec(),
        None => match input(import, call, 1)? {
            Some(target) => target,
            None => return wrong("has no shape"),
        },
    };
    let copied: Vec<i64> = target
        .iter()
        .enumerate()
        .map(|(d, &n)| if n == 0 { array.dims.get(d).map_or(0, |&n| n as i64) } else { n })
        .collect();
    let rest: Vec<i64> = copied.iter().copied().filter(|&n| n != -1).collect();
    let rest = product(&sizes(&rest)?).unwrap_or(0);
    let open = array.values.len().checked_div(rest).unwrap_or(0) as i64;
    let dims: Vec<i64> = copied.iter().map(|&n| if n == -1 { open } else { n }).collect();
    match array.clone().reshaped(sizes(&dims)?) {
        Some(array) => Ok(array),
        None => wrong(format!("gives a constant of shape {:?} the shape {target:?}", array.dims)),
    }
}

fn squeeze<T: Clone>(import: &Import<'_>, call: &Call<'_>, array: &Array<T>) -> Result<Array<T>, Refusal> {
    let axes = match call.ints("axes") {
        Some(axes) => Some(axes.to_vec()),
        None => input(import, call, 1)?,
    };
    if axes.as_ref().is_some_and(|axes| axes.len() > MOST_AXES) {
        return wrong("names too many axes");
    }
    let mut dims = array.dims.clone();
    if call.operator() == "Unsqueeze" {
        let axes = axes.unwrap_or_default();
        let count = dims.len() + axes.len();
        let mut axes = axes.iter().map(|&a| axis(a, count)).collect::<Result<Vec<_>, _>>()?;
        axes.sort_unstable();
        for d in axes {
            dims.insert(d.min(dims.len()), 1);
        }
    } else {
        let axes = match axes {
            Some(axes) => axes.iter().map(|&a| axis(a, dims.len())).collect::<Result<Vec<_>, _>>()?,
            None => (0..dims.len()).filter(|&d| dims[d] == 1).collect(),
        };
        dims = dims.iter().enumerate().filter(|(d, _)| !axes.contains(d)).map(|(_, &n)| n).collect();
    }
    match array.clone().reshaped(dims) {
        Some(array) => Ok(array),
        None => wrong(format!("cannot do so with a constant of shape {:?}", array.dims)),
    }
}

fn transpose<T: Clone>(call: &Call<'_>, array: &Array<T>) -> Result<Array<T>, Refusal> {
    Ok(array.transposed(&order(call, array.dims.len())?))
}

fn slice<T: Clone>(import: &Import<'_>, call: &Call<'_>, array: &Array<T>) -> Result<Array<T>, Refusal> {
    let listed = |name: &str, at: usize| match call.ints(name) {
        Some(ints) => Ok(Some(ints.to_vec())),
        None => input(import, call, at),
    };
    let (Some(starts), Some(ends)) = (listed("starts", 1)?, listed("ends", 2)?) else {
        return wrong("has no starts or no ends");
    };
    let axes = listed("axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = listed("steps", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()].iter().any(|&n| n != starts.len()) {
        return wrong("has starts, ends, axes and steps of different numbers");
    }
    if axes.len() > MOST_AXES {
        return wrong("names too many axes");
    }
    let axes = axes.iter().map(|&a| axis(a, array.dims.len())).collect::<Result<Vec<_>, _>>()?;
    once(&axes)?;
    let mut cut = array.clone();
    for (k, d) in axes.into_iter().enumerate() {
        let (n, step) = (cut.dims[d] as i64, steps[k]);
        let place = |at: i64| if at < 0 { at.saturating_add(n) } else { at };
        let positions: Vec<usize> = match step {
            0 => return wrong("has a step of 0"),
            1.. => {
                let (from, to) = (place(starts[k]).clamp(0, n), place(ends[k]).clamp(0, n));
                (from..to).step_by(step as usize).map(|i| i as usize).collect()
            }
            _ => {
                let (from, to) = (place(starts[k]).clamp(-1, n - 1), place(ends[k]).clamp(-1, n - 1));
                let every = usize::try_from(step.unsigned_abs()).unwrap_or(usize::MAX);
                (to + 1..=from).rev().step_by(every).map(|i| i as usize).collect()
            }
        };
        cut = cut.taken(d, &positions);
    }
    Ok(cut)
}

fn gather<T: Clone>(import: &Import<'_>, call: &Call<'_>, array: &Array<T>) -> Result<Array<T>, Refusal> {
    let d = axis(call.int("axis")?.unwrap_or(0), array.dims.len())?;
    let Some(indices) = import.numbers(call, 1)? else { return wrong("has no indices") };
    let n = array.dims[d] as i64;
    let mut positions = vec![];
    for i in fixed(import, call, indices)? {
        if !(-n..n).contains(&i) {
            return wrong(format!("takes position {i} of {n}"));
        }
        positions.push(i.rem_euclid(n) as usize);
    }
    let dims: Vec<usize> =
        array.dims[..d].iter().chain(&indices.dims).chain(&array.dims[d + 1..]).copied().collect();
    if product(&dims).is_none_or(|n| n > LARGEST) {
        return wrong(format!("makes a constant of shape {dims:?}, which is too large"));
    }
    match array.taken(d, &positions).reshaped(dims) {
        Some(array) => Ok(array),
        None => wrong("makes a constant of too many dimensions"),
    }
}
