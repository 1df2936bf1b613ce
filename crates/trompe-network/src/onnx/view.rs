//! Values of any number of axes, each made of parts of a map's: what Reshape and Transpose give, without a layer. A map is put
//! into the order of such a value where an operator needs that, by one layer.

use super::array::{Constant, Number};
use super::call::Call;
use super::import::{Axis, Import, MAP, Map, Refusal, Value};
use super::read::unsupported;
use crate::op::{Rearrange, ShuffleChannels};

/// A part of an axis of a map: a position along the axis is the sum of those along its parts, each times its stride.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub axis: Axis,
    pub stride: usize,
    pub size: usize,
}

/// The images. How many there are is not a part's to say.
pub const IMAGES: Part = Part { axis: Axis::Batch, stride: 1, size: 1 };

/// What depends on the image: the map of a layer, each axis as parts of the map's axes, the slowest first. An axis without parts
/// has size 1.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    pub layer: usize,
    pub axes: Vec<Vec<Part>>,
}

/// What stands for the number of images where it is free: no size that a file names is divisible by it.
const FREE: usize = 1_000_003;

/// The axes that maps have beside the images'.
const OWN: [Axis; 3] = [Axis::Channels, Axis::Rows, Axis::Columns];

fn place(axis: Axis) -> Option<usize> {
    OWN.iter().position(|&own| own == axis)
}

/// Parts that follow on one another are one.
fn joined(parts: &[Part]) -> Vec<Part> {
    let mut all: Vec<Part> = vec![];
    for &part in parts {
        match all.last_mut() {
            Some(last)
                if part != IMAGES && last.axis == part.axis && last.stride == part.stride * part.size =>
            {
                *last = Part { size: last.size * part.size, ..part };
            }
            _ => all.push(part),
        }
    }
    all
}

/// A whole axis as a part; none, if it has size 1.
pub fn whole(axis: Axis, size: usize) -> Vec<Part> {
    if size == 1 { vec![] } else { vec![Part { axis, stride: 1, size }] }
}

impl View {
    /// A map whose axes are whole.
    pub fn of(import: &Import<'_>, map: &Map) -> Self {
        let shape = import.shape(map.layer);
        let parts = |&axis: &Axis| match place(axis) {
            Some(d) => whole(axis, shape[d]),
            None if axis == Axis::Batch => vec![IMAGES],
            None => vec![],
        };
        Self { layer: map.layer, axes: map.axes.iter().map(parts).collect() }
    }

    /// The map, if its axes are whole.
    fn plain(&self, shape: [usize; 3]) -> Option<Map> {
        let long = |axis: &[Part]| match axis {
            [IMAGES] => Some(Axis::Batch),
            [part] => (*part == Part { axis: part.axis, stride: 1, size: shape[place(part.axis)?] })
                .then_some(part.axis),
            _ => None,
        };
        let mut spare = OWN.into_iter().zip(shape).filter(|(_, n)| *n == 1).map(|(axis, _)| axis);
        let mut axes = vec![];
        for axis in &self.axes {
            axes.push(match axis[..] {
                [] => spare.next().unwrap_or(Axis::One),
                _ => long(axis)?,
            });
        }
        Some(Map { layer: self.layer, axes })
    }

    /// The size of an axis, with a number for that of the images.
    fn size(&self, axis: usize, images: usize) -> usize {
        let size = |part: &Part| if *part == IMAGES { images } else { part.size };
        self.axes[axis].iter().map(size).product()
    }

    /// The sizes of its axes.
    pub fn sizes(&self, import: &Import<'_>) -> Vec<Number> {
        let said = |d: usize| match (self.axes[d].contains(&IMAGES), import.batch) {
            (true, None) => Number::images(self.size(d, 1) as i64),
            (_, images) => Number::Known(self.size(d, images.unwrap_or(1) as usize) as i64),
        };
        (0..self.axes.len()).map(said).collect()
    }

    /// The axes in another order.
    pub fn transposed(&self, order: &[usize]) -> Self {
        Self { layer: self.layer, axes: order.iter().map(|&d| self.axes[d].clone()).collect() }
    }

    /// The same values with axes of these sizes; none, if they would cut across parts.
    pub fn reshaped(&self, target: &[Number], batch: Option<i64>) -> Option<Self> {
        let images = batch.map_or(FREE, |n| n as usize);
        let all: usize = (0..self.axes.len()).try_fold(1usize, |n, d| n.checked_mul(self.size(d, images)))?;
        let size = |n: &Number| match n {
            Number::Batch => Some(images),
            Number::Times(times) => usize::try_from(*times).ok()?.checked_mul(images),
            Number::Known(-1) => None,
            Number::Known(n) | Number::Image(n) => usize::try_from(*n).ok(),
        };
        let known = target.iter().filter_map(size).try_fold(1usize, |n, s| n.checked_mul(s))?;
        let open = target.iter().filter(|n| size(n).is_none()).count();
        if known == 0 || open > 1 || !all.is_multiple_of(known) {
            return None;
        }
        let sizes: Vec<usize> = target.iter().map(|n| size(n).unwrap_or(all / known)).collect();
        if open == 0 && known != all {
            return None;
        }
        let mut parts = self.axes.concat().into_iter().collect::<std::collections::VecDeque<_>>();
        let mut axes = vec![];
        for wanted in sizes {
            let (mut left, mut axis) = (wanted, vec![]);
            while let Some(&part) = parts.front() {
                if part == IMAGES {
                    // One image goes with whatever comes next, where nothing has come yet.
                    if !(left.is_multiple_of(images) && (left > 1 || axis.is_empty())) {
                        break;
                    }
                    left /= images;
                    axis.push(part);
                    parts.pop_front();
                } else if left == 1 {
                    break;
                } else if left.is_multiple_of(part.size) {
                    left /= part.size;
                    axis.push(part);
                    parts.pop_front();
                } else if part.size.is_multiple_of(left) {
                    let inner = part.size / left;
                    axis.push(Part { stride: part.stride * inner, size: left, ..part });
                    parts[0].size = inner;
                    left = 1;
                } else {
                    return None;
                }
            }
            if left != 1 {
                return None;
            }
            axes.push(joined(&axis));
        }
        // One image may stand anywhere: first, where nothing else does.
        if images == 1
            && axes.first().is_some_and(Vec::is_empty)
            && !axes.iter().any(|axis| axis[..] == [IMAGES])
        {
            axes.iter_mut().for_each(|axis| {
                axis.retain(|part| *part != IMAGES);
                *axis = joined(axis);
            });
            axes[0].push(IMAGES);
        }
        parts.is_empty().then_some(Self { layer: self.layer, axes })
    }

    /// Which of some axes stands for channels: that with most of them, or else the last.
    pub fn units(&self, among: &[usize]) -> Option<usize> {
        let channels = |d: usize| -> usize {
            let own = self.axes[d].iter().filter(|part| part.axis == Axis::Channels);
            own.map(|part| part.size).product()
        };
        among.iter().copied().filter(|&d| self.axes[d] != [IMAGES]).max_by_key(|&d| (channels(d), d))
    }

    /// The parts of axes one after another, the images aside; those that follow on one another are one.
    pub fn parts(&self, axes: impl IntoIterator<Item = usize>) -> Vec<Part> {
        let parts = axes.into_iter().flat_map(|d| self.axes[d].iter().copied());
        joined(&parts.filter(|part| *part != IMAGES).collect::<Vec<_>>())
    }
}

impl Import<'_> {
    /// What a node reads that depends on the image.
    pub fn view(&mut self, call: &Call<'_>, at: usize) -> Result<View, Refusal> {
        match self.value(call, at)? {
            Value::Map(map) => Ok(View::of(self, map)),
            Value::View(view) => Ok(view.clone()),
            _ => {
                let map = self.map(call, at)?;
                Ok(View::of(self, &map))
            }
        }
    }

    /// The same value, of a layer whose channels, rows and columns are these parts.
    pub fn arranged(
        &mut self,
        call: &Call<'_>,
        at: usize,
        view: &View,
        layout: [Vec<Part>; 3],
    ) -> Result<View, Refusal> {
        let shape = self.shape(view.layer);
        let mut all = layout.concat();
        all.sort_by_key(|part| (part.axis, std::cmp::Reverse(part.stride)));
        let from: [Vec<Part>; 3] =
            OWN.map(|axis| all.iter().copied().filter(|part| part.axis == axis).collect::<Vec<_>>());
        // The parts of an axis are all of it.
        for (parts, size) in from.iter().zip(shape) {
            let mut stride = size;
            for part in parts {
                if part.stride * part.size != stride {
                    return unsupported("of a value that is cut across its axes");
                }
                stride = part.stride;
            }
            if stride != 1 {
                return unsupported("of a part of a value that is reshaped");
            }
        }
        let index = |part: &Part| all.iter().position(|other| other == part).expect("it is one of them");
        let to = layout.each_ref().map(|parts| parts.iter().map(index).collect::<Vec<_>>());
        if layout == from {
            return Ok(view.clone());
        }
        let op = Rearrange { from: from.map(|parts| parts.iter().map(|part| part.size).collect()), to };
        let layer = self.push(call, Some(&format!("input{at}")), op, &[view.layer], vec![])?;
        let moved = |part: &Part| -> Option<Part> {
            if *part == IMAGES {
                return Some(*part);
            }
            let inside = |whole: &Part| {
                whole.axis == part.axis
                    && whole.stride <= part.stride
                    && part.stride * part.size <= whole.stride * whole.size
            };
            let (d, k) = (0..3).find_map(|d| layout[d].iter().position(inside).map(|k| (d, k)))?;
            let faster: usize = layout[d][k + 1..].iter().map(|part| part.size).product();
            let stride = part.stride / layout[d][k].stride * faster;
            Some(Part { axis: OWN[d], stride, size: part.size })
        };
        let moved = |parts: &Vec<Part>| parts.iter().map(moved).collect::<Option<Vec<_>>>();
        let axes: Option<Vec<Vec<Part>>> =
            view.axes.iter().map(|parts| Some(joined(&moved(parts)?))).collect();
        let Some(axes) = axes else { return unsupported("of a part of a value") };
        Ok(View { layer, axes })
    }

    /// The same value, of a layer whose channels are one of its axes.
    pub fn with_channels(&mut self, call: &Call<'_>, at: usize, axis: usize) -> Result<View, Refusal> {
        let view = self.view(call, at)?;
        let [channels, ..] = self.shape(view.layer);
        if view.axes[axis] == whole(Axis::Channels, channels) {
            return Ok(view);
        }
        self.with_axes_in_order(call, at, view, axis)
    }

    /// The same of a value that the node has made of what it reads.
    pub fn turned(&mut self, call: &Call<'_>, at: usize, view: View, axis: usize) -> Result<View, Refusal> {
        let others = (0..view.axes.len()).filter(|&d| d != axis);
        let layout = [view.parts([axis]), view.parts(others), vec![]];
        self.arranged(call, at, &view, layout)
    }

    /// The same, whose rows and columns are the other axes in order: rows the first, and columns all that are left.
    fn with_axes_in_order(
        &mut self,
        call: &Call<'_>,
        at: usize,
        view: View,
        axis: usize,
    ) -> Result<View, Refusal> {
        let others: Vec<usize> =
            (0..view.axes.len()).filter(|&d| d != axis && !view.parts([d]).is_empty()).collect();
        let [rows, columns] = match others.split_first() {
            Some((&first, rest)) => [view.parts([first]), view.parts(rest.iter().copied())],
            None => [vec![], vec![]],
        };
        let arranged = self.arranged(call, at, &view, [view.parts([axis]), rows, columns])?;
        self.remember(call, at, &arranged);
        Ok(arranged)
    }

    /// The layer of the value that a node reads, in the order that another value of the same axes is in. Where the value is single
    /// along an axis, so is the layer along what the axis stands for.
    pub fn alike(&mut self, call: &Call<'_>, at: usize, model: &View) -> Result<usize, Refusal> {
        let shape = self.shape(model.layer);
        // The places of all parts of the model: the file's axis, and which of its parts it is.
        let places: Vec<(usize, Part)> = model
            .axes
            .iter()
            .enumerate()
            .flat_map(|(d, parts)| parts.iter().filter(|part| **part != IMAGES).map(move |part| (d, *part)))
            .collect();
        let along = |axis: Axis| {
            let mut own: Vec<(usize, Part)> =
                places.iter().filter(|(_, p)| p.axis == axis).copied().collect();
            own.sort_by_key(|(_, part)| std::cmp::Reverse(part.stride));
            own
        };
        let value = self.value(call, at)?.clone();
        if let Value::Constant(Constant::Floats(array)) = &value {
            let mut dims = array.dims.clone();
            while dims.len() > model.axes.len() && dims[0] == 1 {
                dims.remove(0);
            }
            let Some(missing) = model.axes.len().checked_sub(dims.len()) else {
                return unsupported(format!(
                    "of a value of {} axes and a constant of {}",
                    model.axes.len(),
                    dims.len()
                ));
            };
            let dims: Vec<usize> = std::iter::repeat_n(1, missing).chain(dims).collect();
            let fits = |d: usize| dims[d] == 1 || dims[d] == model.size(d, 1);
            if !(0..dims.len()).all(fits)
                || model
                    .axes
                    .iter()
                    .zip(&dims)
                    .any(|(own, n)| own.contains(&IMAGES) && own.len() == 1 && *n > 1)
            {
                return unsupported(format!("of a value and a constant of the shape {:?}", array.dims));
            }
            // Single along a map's axis, if it is along all that the axis stands for.
            let single = OWN.map(|axis| along(axis).iter().all(|(d, _)| dims[*d] == 1));
            let own: [usize; 3] = std::array::from_fn(|k| if single[k] { 1 } else { shape[k] });
            let strides: Vec<usize> = (0..dims.len()).map(|d| dims[d + 1..].iter().product()).collect();
            // The place in the constant that goes with a position along one of the map's axes.
            let offset = |axis: Axis, position: usize| -> usize {
                let of = |(d, part): &(usize, Part)| {
                    let digit = position / part.stride % part.size;
                    let faster: usize = model.axes[*d]
                        .iter()
                        .skip_while(|other| *other != part)
                        .skip(1)
                        .map(|part| part.size)
                        .product();
                    if dims[*d] == 1 { 0 } else { digit * faster * strides[*d] }
                };
                along(axis).iter().map(of).sum()
            };
            self.spend(own.iter().fold(1, |n: usize, &size| n.saturating_mul(size)))?;
            let offsets: [Vec<usize>; 3] =
                std::array::from_fn(|k| (0..own[k]).map(|position| offset(OWN[k], position)).collect());
            let [channels, rows, columns] = &offsets;
            let mut values = Vec::with_capacity(own.iter().product());
            for c in channels {
                for y in rows {
                    values.extend(columns.iter().map(|x| array.values[c + y + x]));
                }
            }
            return self.fixed(call, at, own, values);
        }
        let view = self.view(call, at)?;
        if view.axes.len() != model.axes.len() {
            return unsupported(format!("of values of {} and {} axes", model.axes.len(), view.axes.len()));
        }
        // Split as the model is, where the value is not single.
        let differ = "of values whose axes are split in different ways";
        let mut layout: [Vec<Part>; 3] = [const { vec![] }; 3];
        let mut split: Vec<Vec<Vec<Part>>> = vec![];
        for (own, wanted) in view.axes.iter().zip(&model.axes) {
            if own.is_empty() || own[..] == [IMAGES] {
                split.push(vec![]);
                continue;
            }
            let size = |part: &Part| {
                if *part == IMAGES { Number::Known(-1) } else { Number::Known(part.size as i64) }
            };
            let sizes: Vec<Number> = wanted.iter().map(size).collect();
            let one = View { layer: view.layer, axes: vec![own.clone()] };
            match one.reshaped(&sizes, None) {
                Some(parts) => split.push(parts.axes),
                None => return unsupported(differ),
            }
        }
        for (k, axis) in OWN.into_iter().enumerate() {
            let places = along(axis);
            let mut found = 0;
            for (d, part) in &places {
                let which = model.axes[*d].iter().position(|other| other == part).expect("it is one of them");
                match split[*d].get(which) {
                    Some(own) => {
                        layout[k].extend(own);
                        found += 1;
                    }
                    None if split[*d].is_empty() => {}
                    None => return unsupported(differ),
                }
            }
            if found != 0 && found != places.len() {
                return unsupported("of a value that is single along a part of an axis");
            }
        }
        let view = View { layer: view.layer, axes: split.iter().map(|parts| parts.concat()).collect() };
        Ok(self.arranged(call, at, &view, layout)?.layer)
    }

    /// Whoever reads the same value again is given it in the order that it is in now.
    fn remember(&mut self, call: &Call<'_>, at: usize, view: &View) {
        let name = call.node.input[at].clone();
        let value = self.kept(view.clone());
        self.replace(name, value);
    }

    /// A value as it is kept: a map, where its axes are whole.
    fn kept(&self, view: View) -> Value {
        match view.plain(self.shape(view.layer)) {
            Some(map) => Value::Map(map),
            None => Value::View(view),
        }
    }

    /// Keeps what a node gives as its `at`-th output.
    pub fn set_view(&mut self, call: &Call<'_>, at: usize, view: View) {
        let value = self.kept(view);
        self.set(call, at, value);
    }

    /// Keeps what a Reshape gives: shuffled channels by a layer of their own.
    pub fn reshaped(&mut self, call: &Call<'_>, view: View) -> Result<(), Refusal> {
        if let [images, channels, rest @ ..] = &view.axes[..]
            && images[..] == [IMAGES]
            && let [inner, outer] = channels[..]
            && [inner.axis, outer.axis] == [Axis::Channels; 2]
            && inner.stride == 1
            && outer.stride == inner.size
        {
            let mut axes = vec![images.clone(), whole(Axis::Channels, inner.size * outer.size)];
            axes.extend_from_slice(rest);
            let same = View { layer: view.layer, axes };
            if same.plain(self.shape(view.layer)).is_some_and(|map| map.axes == MAP) {
                let op = ShuffleChannels { groups: outer.size };
                let layer = self.push(call, None, op, &[view.layer], vec![])?;
                self.set_view(call, 0, View { layer, ..same });
                return Ok(());
            }
        }
        self.set_view(call, 0, view);
        Ok(())
    }

    /// A value as a map whose axes are whole, put in order by a layer where they are not.
    pub fn ordered(&mut self, call: &Call<'_>, at: usize) -> Result<Map, Refusal> {
        let view = self.view(call, at)?;
        let Some(units) = view.units(&(0..view.axes.len()).collect::<Vec<_>>()) else {
            return unsupported("of nothing but images");
        };
        let view = self.with_axes_in_order(call, at, view, units)?;
        view.plain(self.shape(view.layer))
            .map_or_else(|| unsupported(format!("of {} axes", view.axes.len())), Ok)
    }
}
