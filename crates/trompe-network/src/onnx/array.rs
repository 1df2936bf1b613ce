//! Constants: parameters, and the numbers that shapes are computed from.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use prost::bytes::Bytes;

use super::proto::{self, elements};

/// Values in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<T> {
    pub dims: Vec<usize>,
    pub values: Vec<T>,
}

/// A whole number, or the number of images, which is not fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    Batch,
    /// So many times the number of images, 2 or more.
    Times(i64),
    Known(i64),
    /// What comes of the image's size: another number for images of another size than the file is read for.
    Image(i64),
}

impl Number {
    /// So many times the number of images.
    pub fn images(times: i64) -> Self {
        if times == 1 { Self::Batch } else { Self::Times(times) }
    }

    /// How many times the number of images it is, if it is a multiple of that.
    pub fn times(self) -> Option<i64> {
        match self {
            Self::Batch => Some(1),
            Self::Times(times) => Some(times),
            Self::Known(_) | Self::Image(_) => None,
        }
    }
}

/// A constant of a file.
#[derive(Clone, Debug)]
pub enum Constant {
    Floats(Array<f32>),
    Numbers(Array<Number>),
}

/// The most dimensions that a constant may have.
const DEEPEST: usize = 8;

/// The most values that a constant which has none could have if its sizes of 0 were 1: loops run over the others.
const EMPTIEST: usize = 1 << 22;

/// What a file may ask for beyond a few times what it holds.
const ALLOWANCE: usize = 1 << 24;

/// How many more values parameters and computed constants may have: what a file asks for has to be in keeping with what
/// it holds.
#[derive(Debug)]
pub struct Budget {
    values: usize,
    /// The bytes of each file beside the model less those that were read: what is read beyond them is read again.
    unread: HashMap<PathBuf, u64>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { values: ALLOWANCE, unread: HashMap::new() }
    }
}

impl Budget {
    /// Counts values that the file itself holds.
    pub fn hold(&mut self, values: usize) {
        self.values = self.values.saturating_add(values.saturating_mul(4));
    }

    /// Takes so many values from the budget.
    ///
    /// # Errors
    /// What is wrong with the file, if there are not so many left.
    pub fn spend(&mut self, values: usize) -> Result<(), String> {
        match self.values.checked_sub(values) {
            Some(left) => {
                self.values = left;
                Ok(())
            }
            None => Err("asks for far more parameters than the file holds".into()),
        }
    }
}

impl<T: Clone> Array<T> {
    /// One axis.
    pub fn row(values: Vec<T>) -> Self {
        Self { dims: vec![values.len()], values }
    }

    /// The values for every position of an array of `dims`, found at `of` it in this one.
    fn gathered(&self, dims: Vec<usize>, of: impl Fn(&[usize]) -> usize) -> Self {
        let count = dims.iter().product();
        let mut at = vec![0; dims.len()];
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(self.values[of(&at)].clone());
            for d in (0..dims.len()).rev() {
                at[d] += 1;
                if at[d] < dims[d] {
                    break;
                }
                at[d] = 0;
            }
        }
        Self { dims, values }
    }

    fn strides(&self) -> Vec<usize> {
        (0..self.dims.len()).map(|d| self.dims[d + 1..].iter().product()).collect()
    }

    /// The axes in another order.
    pub fn transposed(&self, order: &[usize]) -> Self {
        let strides = self.strides();
        let dims = order.iter().map(|&d| self.dims[d]).collect();
        self.gathered(dims, |at| at.iter().zip(order).map(|(i, &d)| i * strides[d]).sum())
    }

    /// These positions along an axis.
    pub fn taken(&self, axis: usize, positions: &[usize]) -> Self {
        let strides = self.strides();
        let mut dims = self.dims.clone();
        dims[axis] = positions.len();
        self.gathered(dims, |at| {
            at.iter().enumerate().map(|(d, &i)| strides[d] * if d == axis { positions[i] } else { i }).sum()
        })
    }

    /// Other dimensions for as many values.
    pub fn reshaped(self, dims: Vec<usize>) -> Option<Self> {
        (dims.len() <= DEEPEST && product(&dims) == Some(self.values.len()))
            .then_some(Self { dims, values: self.values })
    }
}

/// The product, unless it overflows or is 0 only because of a 0 among huge sizes.
pub fn product(dims: &[usize]) -> Option<usize> {
    let count = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d.max(1)))?;
    match dims.contains(&0) {
        true => (count <= EMPTIEST).then_some(0),
        false => Some(count),
    }
}

/// The product of the sizes, those of 0 taken for 1: what an operator may go through.
pub fn places(dims: &[usize]) -> usize {
    dims.iter().fold(1, |n, &d| n.saturating_mul(d.max(1)))
}

impl Constant {
    /// What a file says a tensor is; `folder` is where the file lies. Its values count as held by the file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(tensor: &proto::Tensor, folder: &Path, budget: &mut Budget) -> Result<Self, String> {
        let dims = tensor
            .dims
            .iter()
            .map(|&d| usize::try_from(d).map_err(|_| format!("has the size {d}")))
            .collect::<Result<Vec<_>, _>>()?;
        let count = product(&dims).filter(|_| dims.len() <= DEEPEST);
        let count = count.ok_or_else(|| format!("cannot have the shape {dims:?}"))?;
        let kind = tensor.elements.unwrap_or(0);
        let width = match kind {
            elements::UINT8 | elements::INT8 | elements::BOOL => 1,
            elements::FLOAT16 | elements::BFLOAT16 => 2,
            elements::FLOAT | elements::INT32 => 4,
            elements::INT64 | elements::DOUBLE => 8,
            _ => return Err(format!("has elements of a type that Trompe does not know ({kind})")),
        };
        let bytes = count.checked_mul(width).ok_or("is too large")?;
        let raw = match (&tensor.raw, tensor.location) {
            (_, Some(1)) => Some(external(tensor, folder, bytes, width, budget)?),
            (raw, _) => {
                budget.hold(count);
                raw.clone()
            }
        };
        let lacking = |found: usize| format!("has the shape {dims:?}, but {found} values");
        let array = |values: Vec<f32>| match values.len() == count {
            true => Ok(Self::Floats(Array { dims: dims.clone(), values })),
            false => Err(lacking(values.len())),
        };
        let numbers = |values: Vec<i64>| match values.len() == count {
            true => {
                let values = values.into_iter().map(Number::Known).collect();
                Ok(Self::Numbers(Array { dims: dims.clone(), values }))
            }
            false => Err(lacking(values.len())),
        };
        let Some(raw) = raw else {
            let small = |f: &dyn Fn(u16) -> f32| tensor.ints.iter().map(|&v| f(v as u16)).collect();
            return match kind {
                elements::FLOAT => array(tensor.floats.clone()),
                elements::DOUBLE => array(tensor.doubles.iter().map(|&v| v as f32).collect()),
                elements::FLOAT16 => array(small(&|v| half::f16::from_bits(v).to_f32())),
                elements::BFLOAT16 => array(small(&|v| half::bf16::from_bits(v).to_f32())),
                elements::INT64 => numbers(tensor.longs.clone()),
                _ => numbers(tensor.ints.iter().map(|&v| v.into()).collect()),
            };
        };
        if raw.len() != bytes {
            return Err(format!("has the shape {dims:?}, but {} bytes instead of {bytes}", raw.len()));
        }
        match kind {
            elements::FLOAT => array(each(&raw, f32::from_le_bytes)),
            elements::DOUBLE => array(each(&raw, |b| f64::from_le_bytes(b) as f32)),
            elements::FLOAT16 => array(each(&raw, |b| half::f16::from_le_bytes(b).to_f32())),
            elements::BFLOAT16 => array(each(&raw, |b| half::bf16::from_le_bytes(b).to_f32())),
            elements::INT64 => numbers(each(&raw, i64::from_le_bytes)),
            elements::INT32 => numbers(each(&raw, |b| i32::from_le_bytes(b).into())),
            elements::INT8 => numbers(each(&raw, |b| i8::from_le_bytes(b).into())),
            _ => numbers(each(&raw, |b| u8::from_le_bytes(b).into())),
        }
    }

    /// How many values it has.
    pub fn count(&self) -> usize {
        match self {
            Self::Floats(array) => array.values.len(),
            Self::Numbers(array) => array.values.len(),
        }
    }

    /// Its dimensions.
    pub fn dims(&self) -> &[usize] {
        match self {
            Self::Floats(array) => &array.dims,
            Self::Numbers(array) => &array.dims,
        }
    }
}

fn each<const W: usize, T>(bytes: &[u8], of: impl Fn([u8; W]) -> T) -> Vec<T> {
    bytes.as_chunks::<W>().0.iter().map(|&chunk| of(chunk)).collect()
}

/// The bytes of a tensor that are in another file, which has to lie in the model's own folder. Each value has `width`
/// of them.
fn external(
    tensor: &proto::Tensor,
    folder: &Path,
    bytes: usize,
    width: usize,
    budget: &mut Budget,
) -> Result<Bytes, String> {
    let entry = |key: &str| {
        tensor.external.iter().find(|e| e.key.as_deref() == Some(key)).and_then(|e| e.value.as_deref())
    };
    let number = |key: &str| match entry(key) {
        None => Ok(None),
        Some(text) => text.parse::<u64>().map(Some).map_err(|_| format!("has the external {key} \"{text}\"")),
    };
    let location = entry("location").ok_or("has its values in another file, but doesn't say in which")?;
    let outside = || format!("has its values in \"{location}\", which is not in the model's folder");
    let path = Path::new(location);
    if !path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        return Err(outside());
    }
    let missing = |e: std::io::Error| format!("has its values in \"{location}\", which cannot be read: {e}");
    // A link inside the folder could lead out of it.
    let link = folder.join(path);
    if !link.exists() {
        return Err(format!(
            "has its values in \"{location}\", which cannot be read: there is no such file beside the model (copy what a \
             link leads to with `cp -L`)"
        ));
    }
    let path = link.canonicalize().map_err(missing)?;
    if !path.starts_with(folder.canonicalize().map_err(missing)?) {
        return Err(match link.is_symlink() {
            true => format!(
                "has its values in \"{location}\", a link that leads out of the model's folder, as download caches have \
                 them: copy the files themselves with `cp -L`"
            ),
            false => outside(),
        });
    }
    let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
    if length.is_some_and(|length| length != bytes as u64) {
        return Err(format!(
            "says that \"{location}\" has {} bytes of it; its shape needs {bytes}",
            length.unwrap_or(0)
        ));
    }
    // Looked at before it is opened: to open a pipe is to wait for somebody who writes to it.
    let metadata = std::fs::metadata(&path).map_err(missing)?;
    if !metadata.is_file() {
        return Err(format!("has its values in \"{location}\", which is no file"));
    }
    if offset.checked_add(bytes as u64).is_none_or(|end| end > metadata.len()) {
        return Err(format!("has its values in \"{location}\", which is too short"));
    }
    // Any number of tensors can name the same bytes.
    let unread = budget.unread.entry(path.clone()).or_insert(metadata.len());
    let fresh = (*unread).min(bytes as u64);
    *unread -= fresh;
    let fresh = fresh as usize / width;
    budget.hold(fresh);
    budget.spend(bytes / width - fresh).map_err(|_| {
        format!(
            "has its values in \"{location}\", where so many parameters have theirs in the same place that all are \
             far more than the file holds; export it again"
        )
    })?;
    let mut file = File::open(&path).map_err(missing)?;
    file.seek(SeekFrom::Start(offset)).map_err(missing)?;
    let mut values = vec![0; bytes];
    file.read_exact(&mut values).map_err(missing)?;
    Ok(values.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_exchanged_and_positions_taken_by_hand() {
        let a = Array { dims: vec![2, 3], values: vec![1, 2, 3, 4, 5, 6] };
        let t = a.transposed(&[1, 0]);
        assert_eq!((t.dims, t.values), (vec![3, 2], vec![1, 4, 2, 5, 3, 6]));
        let last = a.taken(1, &[2, 0]);
        assert_eq!((last.dims, last.values), (vec![2, 2], vec![3, 1, 6, 4]));
        assert!(a.clone().reshaped(vec![6]).is_some() && a.reshaped(vec![4]).is_none());
    }

    #[test]
    fn numbers_of_every_kind_are_read() {
        let tensor = |elements: i32, raw: Vec<u8>| proto::Tensor {
            dims: vec![2],
            elements: Some(elements),
            raw: Some(raw.into()),
            ..Default::default()
        };
        let read = |tensor: &proto::Tensor| Constant::read(tensor, Path::new("."), &mut Budget::default());
        for (elements, raw) in [
            (elements::FLOAT, [1.5f32, -2.0].map(f32::to_le_bytes).concat()),
            (elements::DOUBLE, [1.5f64, -2.0].map(f64::to_le_bytes).concat()),
            (elements::FLOAT16, vec![0x00, 0x3e, 0x00, 0xc0]),
            (elements::BFLOAT16, vec![0xc0, 0x3f, 0x00, 0xc0]),
        ] {
            let Ok(Constant::Floats(array)) = read(&tensor(elements, raw)) else { panic!("{elements}") };
            assert_eq!(array.values, [1.5, -2.0]);
        }
        for (elements, raw) in [
            (elements::INT64, [3i64, -1].map(i64::to_le_bytes).concat()),
            (elements::INT32, [3i32, -1].map(i32::to_le_bytes).concat()),
            (elements::INT8, vec![3, 255]),
        ] {
            let Ok(Constant::Numbers(array)) = read(&tensor(elements, raw)) else { panic!("{elements}") };
            assert_eq!(array.values, [Number::Known(3), Number::Known(-1)]);
        }
        assert!(read(&tensor(elements::FLOAT, vec![0; 7])).is_err());
    }

    #[test]
    fn sizes_of_0_do_not_hide_huge_ones() {
        assert_eq!(product(&[]), Some(1));
        assert_eq!(product(&[3, 0, 5]), Some(0));
        assert_eq!(product(&[0, 1 << 40]), None);
        assert_eq!(product(&[usize::MAX, 0, 2]), None);
        assert_eq!((places(&[3, 0, 5]), places(&[usize::MAX, 2])), (15, usize::MAX));
    }
}
