use std::collections::HashMap;
use std::path::PathBuf;

use anstream::println;
use burn::tensor::{Tensor, TensorData};
use clap::Args;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::model;
use crate::device::Kind;
use crate::error::{Context, Error, Result};
use crate::executor::Executor;
use crate::progress;

#[derive(Args)]
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
    /// Where to compute
    #[arg(long, value_enum, default_value = "flex")]
    device: Kind,
}

impl Arguments {
    pub fn run(self) -> Result<()> {
        let executor = Executor::new(self.device)?;
        let network = model(&self.model, executor.device())?;
        let bytes = std::fs::read(&self.input).on("read", &self.input)?;
        let file = SafeTensors::deserialize(&bytes).on("read", &self.input)?;
        let tensors = file.tensors();
        let [(_, images)] = &tensors[..] else {
            return Err(Error::usage(format!(
                "{} holds {} tensors, not one",
                self.input.display(),
                tensors.len()
            )));
        };
        let (Dtype::F32, &[n, c, h, w]) = (images.dtype(), images.shape()) else {
            return Err(Error::usage(format!(
                "{} holds {:?} values of shape {:?}, not 32-bit floats [N, C, H, W]",
                self.input.display(),
                images.dtype(),
                images.shape()
            )));
        };
        let values: Vec<f32> =
            images.data().as_chunks::<4>().0.iter().map(|&chunk| f32::from_le_bytes(chunk)).collect();
        let layers = match self.layers.is_empty() {
            true => network.graph().nodes.iter().map(|node| node.name.clone()).collect(),
            false => self.layers,
        };
        let images: Vec<&[f32]> = values.chunks((c * h * w).max(1)).collect();
        let bar = progress::bar("activations", n);
        let rows = executor.run(&images, 1, &bar, |chunk| {
            chunk
                .iter()
                .map(|image| {
                    let data = TensorData::new(image.to_vec(), [1, c, h, w]);
                    let maps = network.capture(Tensor::from_data(data, executor.device()), &layers)?;
                    let read = |map: Tensor<4>| {
                        let map = if self.means { map.mean_dims(&[2, 3]) } else { map };
                        let shape = map.dims();
                        let values: Vec<f32> =
                            map.into_data().try_to_vec().expect("activations are 32-bit floats");
                        (shape, values)
                    };
                    Ok(maps.into_iter().map(read).collect::<Vec<_>>())
                })
                .collect()
        })?;
        bar.finish_and_clear();
        let mut joined = HashMap::new();
        for (k, layer) in layers.iter().enumerate() {
            let shape = rows.first().map_or([0; 4], |row| row[k].0);
            let bytes: Vec<u8> =
                rows.iter().flat_map(|row| &row[k].1).flat_map(|v| v.to_le_bytes()).collect();
            joined.insert(layer.as_str(), ([rows.len(), shape[1], shape[2], shape[3]], bytes));
        }
        let views = joined
            .iter()
            .map(|(name, (shape, bytes))| Ok((*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .on("write", &self.out)?;
        let output = HashMap::from([("output".to_string(), network.output().to_string())]);
        safetensors::serialize_to_file(views, Some(output), &self.out).on("write", &self.out)?;
        println!("wrote {} layers of {n} images to {}", layers.len(), self.out.display());
        Ok(())
    }
}
