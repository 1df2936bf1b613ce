//! Files of weights, known by what is in them rather than by their names: safetensors, and all that `torch.save` writes.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use half::{bf16, f16};
use pytorch_reader::{DType, PytorchError, PytorchReader};
use safetensors::{Dtype, SafeTensors};
use trompe_base::error::{Context, Error, Result};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Safetensors,
    /// A checkpoint of PyTorch, in any of its containers.
    Pytorch,
    /// Nothing that is told apart by its first bytes: an ONNX file, or something else.
    Unknown,
    /// Something else; what, and what to do.
    Other(&'static str),
}

impl Format {
    /// What the file at a path is.
    ///
    /// # Errors
    /// Usage, if it is not there or no file; failure, if it can't be read.
    pub fn of(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path)
            .map_err(|e| Error::usage(format!("cannot read {}: {e}", path.display())))?;
        if metadata.is_dir() {
            return Err(Error::usage(format!(
                "{} is a folder: name the file in it that holds the weights or the network",
                path.display()
            )));
        }
        if !metadata.is_file() {
            return Err(Error::usage(format!("{} is no plain file", path.display())));
        }
        let mut head = vec![];
        File::open(path).on("read", path)?.take(512).read_to_end(&mut head).on("read", path)?;
        Ok(Self::beginning(&head))
    }

    /// What a file is that begins with these bytes.
    fn beginning(head: &[u8]) -> Self {
        let text = head.trim_ascii_start();
        let begins = |words: &str| {
            text.len() >= words.len() && text[..words.len()].eq_ignore_ascii_case(words.as_bytes())
        };
        match head {
            [] => Self::Other("is empty: fetch or export it again"),
            // The length of the header comes first, and may begin as anything else does.
            [_, _, _, _, 0, 0, 0, 0, b'{', ..] => Self::Safetensors,
            [b'P', b'K', 3, 4, ..] | [0x80, 2..=5, ..] => Self::Pytorch,
            _ if head.len() > 262 && &head[257..262] == b"ustar" => Self::Pytorch,
            [0x1f, 0x8b, ..] | [b'7', b'z', 0xbc, 0xaf, ..] | [0xfd, b'7', b'z', b'X', ..] => {
                Self::Other("is compressed: unpack it first")
            }
            [0x89, b'H', b'D', b'F', ..] => Self::Other(
                "is an HDF5 file, as Keras writes them: turn the model into ONNX with tf2onnx (--inputs-as-nchw)",
            ),
            [_, _, _, _, b'T', b'F', b'L', b'3', ..] => Self::Other(
                "is a TensorFlow Lite file: turn the model into ONNX with tf2onnx (--inputs-as-nchw)",
            ),
            [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => {
                Self::Other("is a NumPy array: save the weights as safetensors, named as PyTorch names them")
            }
            [b'G', b'G', b'U', b'F', ..] => Self::Other("is a GGUF file, which holds no vision network"),
            _ if begins("version https://git-lfs") => {
                Self::Other("is a Git LFS pointer, not the file that it stands for: run `git lfs pull`")
            }
            _ if begins("<!doctype") || begins("<html") || begins("<?xml") => {
                Self::Other("is a web page: the download went wrong; fetch the file itself")
            }
            _ if begins("{") && String::from_utf8_lossy(text).contains("weight_map") => Self::Other(
                "is only the index of a model in several files: load the model in PyTorch and save its state_dict in one",
            ),
            _ if begins("{") => Self::Other("is JSON and holds no weights"),
            _ => Self::Unknown,
        }
    }
}

/// The error of a file that is not what it should be.
pub(super) fn other(path: &Path, what: &str) -> Error {
    Error::failure(format!("{} {what}", path.display()))
}

/// A tensor that is read when it is asked for.
struct Stored {
    shape: Vec<usize>,
    read: Box<dyn Fn() -> Result<Vec<f32>, String>>,
}

/// The tensors of a file, by name.
pub(super) struct Checkpoint {
    tensors: BTreeMap<String, Stored>,
    /// What safetensors keep beside them.
    pub metadata: HashMap<String, String>,
}

impl Checkpoint {
    /// Opens a file of weights.
    ///
    /// # Errors
    /// Usage, if it is not there; failure, saying what it is, if it holds no weights.
    pub fn open(path: &Path) -> Result<Self> {
        match Format::of(path)? {
            Format::Safetensors => Self::safetensors(path),
            Format::Pytorch => Self::pytorch(path),
            Format::Other(what) => Err(other(path, what)),
            Format::Unknown => Err(other(
                path,
                "holds no weights: give a safetensors file, or a state_dict that PyTorch saved; a whole network (ONNX) is \
                 named with `file` instead of `weights`",
            )),
        }
    }

    fn safetensors(path: &Path) -> Result<Self> {
        let bytes: std::rc::Rc<[u8]> = std::fs::read(path).on("read", path)?.into();
        let cut = |e| other(path, &format!("is no whole safetensors file ({e}); fetch or export it again"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(cut)?;
        let file = SafeTensors::deserialize(&bytes).map_err(cut)?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.iter() {
            let start = view.data().as_ptr() as usize - bytes.as_ptr() as usize;
            let (range, dtype, bytes) = (start..start + view.data().len(), view.dtype(), bytes.clone());
            let read = move || floats(&bytes[range.clone()], Kind::of_safetensors(dtype)?);
            tensors.insert(name.into(), Stored { shape: view.shape().into(), read: Box::new(read) });
        }
        Ok(Self { tensors, metadata: header.metadata().clone().unwrap_or_default() })
    }

    fn pytorch(path: &Path) -> Result<Self> {
        let reader = PytorchReader::new(path).map_err(|e| {
            let what = match &e {
                PytorchError::Zip(_) | PytorchError::Io(_) => {
                    "is cut short or damaged: fetch or save it again"
                }
                PytorchError::Tar(_) => "is an archive and no checkpoint of PyTorch: unpack it first",
                PytorchError::InvalidFormat(why) if why.contains("data.pkl") || why.contains("TAR") => {
                    "is an archive and no checkpoint of PyTorch: unpack it first"
                }
                _ => {
                    "can't be read as a state_dict of plain tensors: in PyTorch, torch.save({k: v.float() for k, v in \
                     model.state_dict().items()}, \"weights.pth\")"
                }
            };
            other(path, &format!("{what} ({e})"))
        })?;
        let mut tensors = BTreeMap::new();
        for (name, tensor) in reader.into_tensors() {
            let shape = tensor.shape().to_vec();
            let read = move || {
                let kind = Kind::of_pytorch(tensor.dtype())?;
                // In the order of this machine's bytes.
                let bytes = tensor.read().map_err(|e| e.to_string())?;
                floats(&bytes, kind)
            };
            tensors.insert(name, Stored { shape, read: Box::new(read) });
        }
        if tensors.is_empty() {
            return Err(other(
                path,
                "holds no tensors of PyTorch (NumPy arrays are none); in PyTorch: torch.save(model.state_dict(), \
                 \"weights.pth\")",
            ));
        }
        Ok(Self { tensors, metadata: HashMap::new() })
    }

    /// The tensors' names and shapes.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), &tensor.shape[..]))
    }

    /// The shape of a tensor, if it is there.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|tensor| &tensor.shape[..])
    }

    /// The values of a tensor, as 32-bit floats.
    ///
    /// # Errors
    /// What is wrong with it: it can't be read, holds whole numbers, or something that is no number of 32 bits.
    pub fn values(&self, name: &str) -> Result<Vec<f32>, String> {
        let values = (self.tensors.get(name).ok_or("is missing")?.read)()?;
        match values.iter().find(|value| !value.is_finite()) {
            None => Ok(values),
            Some(value) if value.is_nan() => {
                Err("has the value NaN: all have to be numbers of 32 bits".into())
            }
            Some(_) => Err("has a value that is infinite, or beyond what 32 bits hold (3.4e38)".into()),
        }
    }

    /// What stands before all names of the file that end in names of `wanted`, as `state_dict.module.`; where there are
    /// several sets of weights, that of the most, and of those the most usual.
    pub fn prefix(&self, wanted: &[String]) -> String {
        let wanted: std::collections::HashSet<&str> = wanted.iter().map(String::as_str).collect();
        let mut found: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.tensors.keys() {
            let starts = std::iter::once(0).chain(name.match_indices('.').map(|(at, _)| at + 1));
            for at in starts.filter(|&at| wanted.contains(&name[at..])) {
                *found.entry(&name[..at]).or_default() += 1;
            }
        }
        let usual =
            ["state_dict", "model_state_dict", "model", "net", "network", "module", "model_ema", "ema"];
        let rank = |prefix: &str| {
            let first = prefix.split('.').next().unwrap_or("");
            let known = usual.iter().position(|word| *word == first).unwrap_or(usual.len());
            if prefix.is_empty() { 0 } else { known + 1 }
        };
        let best = found
            .iter()
            .max_by_key(|&(&prefix, &count)| (count, std::cmp::Reverse((rank(prefix), prefix.len()))));
        best.map_or_else(String::new, |(prefix, _)| (*prefix).to_string())
    }
}

/// How a file keeps fractions.
#[derive(Clone, Copy)]
enum Kind {
    Half,
    Brain,
    Single,
    Double,
}

impl Kind {
    fn of_safetensors(dtype: Dtype) -> Result<Self, String> {
        match dtype {
            Dtype::F16 => Ok(Self::Half),
            Dtype::BF16 => Ok(Self::Brain),
            Dtype::F32 => Ok(Self::Single),
            Dtype::F64 => Ok(Self::Double),
            other => Err(format!("holds {other:?} values; weights are fractions of 16, 32 or 64 bits")),
        }
    }

    fn of_pytorch(dtype: DType) -> Result<Self, String> {
        match dtype {
            DType::F16 => Ok(Self::Half),
            DType::BF16 => Ok(Self::Brain),
            DType::F32 => Ok(Self::Single),
            DType::F64 => Ok(Self::Double),
            other => Err(format!("holds {other:?} values; weights are fractions of 16, 32 or 64 bits")),
        }
    }
}

/// Bytes as 32-bit floats. Safetensors are little-endian, as are the machines that Trompe runs on.
fn floats(bytes: &[u8], kind: Kind) -> Result<Vec<f32>, String> {
    fn each<const W: usize>(bytes: &[u8], of: impl Fn([u8; W]) -> f32) -> Vec<f32> {
        bytes.as_chunks::<W>().0.iter().map(|&chunk| of(chunk)).collect()
    }
    Ok(match kind {
        Kind::Half => each(bytes, |b| f16::from_le_bytes(b).to_f32()),
        Kind::Brain => each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
        Kind::Single => each(bytes, f32::from_le_bytes),
        Kind::Double => each(bytes, |b| f64::from_le_bytes(b) as f32),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_first_bytes() {
        for (head, format) in [
            (&b"PK\x03\x04"[..], Format::Pytorch),
            (b"\x80\x02\x8a", Format::Pytorch),
            (b"\x40\0\0\0\0\0\0\0{\"a\"", Format::Safetensors),
            // A header of 640 bytes begins as a pickle does.
            (b"\x80\x02\0\0\0\0\0\0{\"a\"", Format::Safetensors),
            (b"\x08\x08\x12\x07pytorch", Format::Unknown),
        ] {
            assert_eq!(Format::beginning(head), format);
        }
        for (head, word) in [
            (&b""[..], "empty"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:5945", "git lfs pull"),
            (b"\n<!DOCTYPE html>", "web page"),
            (b"{\"metadata\": {}, \"weight_map\": {}}", "index"),
            (b"{\"a\": 1}", "JSON"),
            (b"\x1f\x8b\x08", "unpack"),
            (b"\x89HDF\r\n", "tf2onnx"),
        ] {
            let Format::Other(what) = Format::beginning(head) else { panic!("{word}") };
            assert!(what.contains(word), "{what}");
        }
    }
}
