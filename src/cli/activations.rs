use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::tensor::{Tensor, TensorData};
use clap::Args;
use safetensors::tensor::{Dtype, SafeTensors, View};
use tempfile::NamedTempFile;

use super::model;
use crate::bounds::distinct;
use crate::device::Kind;
use crate::error::{Context, Error, Result};
use crate::executor::Executor;
use crate::files::{self, Unfinished, folder_of};
use crate::print::say;
use crate::progress;

const EXAMPLES: &str = "\
Example:
  trompe activations model.onnx images.safetensors --layer layer3.1 --means --out means.safetensors";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// An ONNX file, a network that `train` or `fool` saved, or the name of an architecture
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// A safetensors file with one tensor of 32-bit floats [N, C, H, W]: images as the network takes them
    #[arg(value_name = "INPUT")]
    input: PathBuf,
    /// A layer; may be given several times [default: all]
    #[arg(long = "layer", value_name = "LAYER")]
    layers: Vec<String>,
    /// Keep only the mean of each channel's map, [N, C, 1, 1], so that many images fit into memory
    #[arg(long)]
    means: bool,
    /// Where to write the activations [N, C, H, W] of each layer, as safetensors; the metadata name the output layer
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The layer that is taken for the output: what lies behind is not read
    #[arg(long, value_name = "LAYER")]
    output: Option<String>,
    /// Where to compute
    #[arg(long, value_enum, default_value = "flex")]
    device: Kind,
}

impl Arguments {
    pub fn run(self) -> Result<()> {
        files::writable(&self.out)?;
        distinct("--layer", &self.layers).map_err(Error::usage)?;
        let executor = Executor::new(self.device)?;
        let network = model(&self.model, self.output.as_deref(), executor.device())?;
        let mut images = Images::open(&self.input)?;
        let [n, c, h, w] = images.shape;
        if n == 0 {
            return Err(Error::usage(format!("{} holds no images", self.input.display())));
        }
        let names: Vec<String> = match self.layers.is_empty() {
            true => network.graph().nodes.iter().map(|node| node.name.clone()).collect(),
            false => {
                let found = self.layers.iter().map(|layer| Ok(network.graph().find(layer)?.to_string()));
                found.collect::<Result<_>>()?
            }
        };
        for name in &names {
            network.graph().shape_of(name, [c, h, w])?;
        }
        let mut layers = names.iter().map(|_| Activations::new(&self.out)).collect::<Result<Vec<_>>>()?;
        let bar = progress::bar("activations", n);
        let batch = (BATCH / (c * h * w).max(1)).max(1);
        for from in (0..n).step_by(batch) {
            let images = images.read(from..n.min(from + batch))?;
            let rows = executor.run(&images, 1, &bar, |chunk| {
                chunk
                    .iter()
                    .map(|image| {
                        let data = TensorData::new(image.clone(), [1, c, h, w]);
                        let maps = network.capture(Tensor::from_data(data, executor.device()), &names)?;
                        let reduce = |map: Tensor<4>| if self.means { map.mean_dims(&[2, 3]) } else { map };
                        Ok(maps.into_iter().map(|map| reduce(map).into_data()).collect::<Vec<_>>())
                    })
                    .collect()
            })?;
            for maps in rows {
                for (layer, map) in layers.iter_mut().zip(maps) {
                    layer.push(map).on("write", &self.out)?;
                }
            }
        }
        bar.end();
        let out = Unfinished::beside(&self.out)?;
        let output = HashMap::from([("output".to_string(), network.output().to_string())]);
        for layer in &mut layers {
            layer.file.flush().on("write", &self.out)?;
        }
        safetensors::serialize_to_file(names.iter().zip(&layers), Some(output), out.at())
            .on("write", &self.out)?;
        if let Some(error) = layers.iter().find_map(|layer| layer.lost.take()) {
            return Err(error).on("write", &self.out);
        }
        out.finish()?;
        say!("wrote {} layers of {n} images to {}", layers.len(), self.out.display());
        Ok(())
    }
}

/// How many values are read at a time.
const BATCH: usize = 1 << 24;

/// A file of images, of which some are read at a time: together they may not fit into memory.
struct Images<'a> {
    path: &'a Path,
    file: File,
    /// Where the first one's values begin.
    start: u64,
    /// `[N, C, H, W]`.
    shape: [usize; 4],
}

impl<'a> Images<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let file = File::open(path).on("read", path)?;
        // SAFETY: only the header is read from the map; that nobody writes to the file meanwhile is the user's affair.
        let map = unsafe { memmap2::Mmap::map(&file) }.on("read", path)?;
        let tensors = SafeTensors::deserialize(&map).on("read", path)?.tensors();
        let [(_, images)] = &tensors[..] else {
            return Err(Error::usage(format!("{} holds {} tensors, not one", path.display(), tensors.len())));
        };
        let (Dtype::F32, &[n, c, h, w]) = (images.dtype(), images.shape()) else {
            return Err(Error::usage(format!(
                "{} holds {:?} values of shape {:?}, not 32-bit floats [N, C, H, W]",
                path.display(),
                images.dtype(),
                images.shape()
            )));
        };
        let start = (map.len() - images.data().len()) as u64;
        Ok(Self { path, file, start, shape: [n, c, h, w] })
    }

    /// The values of some of the images.
    fn read(&mut self, range: Range<usize>) -> Result<Vec<Vec<f32>>> {
        let [_, c, h, w] = self.shape;
        let size = 4 * c * h * w;
        self.file.seek(SeekFrom::Start(self.start + (range.start * size) as u64)).on("read", self.path)?;
        let mut bytes = vec![0; range.len() * size];
        self.file.read_exact(&mut bytes).on("read", self.path)?;
        let image =
            |bytes: &[u8]| bytes.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect();
        Ok(bytes.chunks(size.max(1)).map(image).collect())
    }
}

/// A layer's activations, on disk until they are all there.
struct Activations {
    file: BufWriter<NamedTempFile>,
    shape: Vec<usize>,
    /// Why they could not be read again.
    lost: RefCell<Option<std::io::Error>>,
}

impl Activations {
    fn new(out: &Path) -> Result<Self> {
        let file = NamedTempFile::new_in(folder_of(out)).on("write", out)?;
        Ok(Self { file: BufWriter::new(file), shape: vec![0; 4], lost: RefCell::new(None) })
    }

    /// Adds one image's.
    fn push(&mut self, map: TensorData) -> std::io::Result<()> {
        let n = self.shape[0] + 1;
        self.shape = map.shape().to_vec();
        self.shape[0] = n;
        let values: Vec<f32> = map.try_to_vec().expect("activations are 32-bit floats");
        values.iter().try_for_each(|value| self.file.write_all(&value.to_le_bytes()))
    }
}

impl View for &Activations {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let read = std::fs::read(self.file.get_ref().path());
        read.unwrap_or_else(|error| {
            self.lost.replace(Some(error));
            vec![]
        })
        .into()
    }

    fn data_len(&self) -> usize {
        4 * self.shape.iter().product::<usize>()
    }
}
