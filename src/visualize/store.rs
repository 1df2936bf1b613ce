//! A visualization and its trajectory as one safetensors file.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use image::RgbImage;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, View};

use super::{Fault, Request, Snapshot, Visualization};
use crate::error::{Context, Error, Result};
use crate::files;

/// The metadata key of why a visualization shows nothing.
const FAULT: &str = "trompe.fault";

impl Fault {
    /// The metadata of a safetensors file of pictures that have it.
    pub(crate) fn metadata(fault: Option<Self>) -> Option<HashMap<String, String>> {
        let words = serde_json::to_string(&fault?).expect("a fault is plain data");
        Some(HashMap::from([(FAULT.to_string(), words)]))
    }

    /// What the metadata of a safetensors file say.
    pub(crate) fn in_file(bytes: &[u8]) -> Result<Option<Self>, String> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
        let words = header.metadata().as_ref().and_then(|m| m.get(FAULT));
        words.map(|words| serde_json::from_str(words).map_err(|e| e.to_string())).transpose()
    }
}

impl Visualization {
    /// Writes the trajectory: `steps` and `activations` `[S]`, `images` `[S, H, W, 3]`.
    ///
    /// # Errors
    /// Failure, if the file can't be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let n = self.trajectory.len();
        let (w, h) = self.image().dimensions();
        let bytes =
            |f: &dyn Fn(&Snapshot) -> Vec<u8>| -> Vec<u8> { self.trajectory.iter().flat_map(f).collect() };
        let steps = bytes(&|s| (s.step as u64).to_le_bytes().to_vec());
        let activations = bytes(&|s| s.activation.to_le_bytes().to_vec());
        let images = bytes(&|s| s.image.as_raw().clone());
        let view = |dtype, shape: Vec<usize>, data| {
            TensorView::new(dtype, shape, data).expect("shape and data agree")
        };
        let tensors = [
            ("steps", view(Dtype::U64, vec![n], &steps)),
            ("activations", view(Dtype::F32, vec![n], &activations)),
            ("images", view(Dtype::U8, vec![n, h as usize, w as usize, 3], &images)),
        ];
        let bytes = safetensors::serialize(tensors, Fault::metadata(self.fault)).on("write", path)?;
        files::write(path, &bytes)
    }

    /// Reads what [`save`](Self::save) wrote for `request`.
    ///
    /// # Errors
    /// Failure, if the file can't be read or is something else.
    pub fn load(request: &Request, path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).on("read", path)?;
        let file = SafeTensors::deserialize(&bytes).on("read", path)?;
        let part = |name: &str| -> Result<(Vec<usize>, Cow<'_, [u8]>)> {
            let view = file.tensor(name).on("read", path)?;
            Ok((view.shape().to_vec(), Cow::Owned(View::data(&view).into_owned())))
        };
        let (shape, images) = part("images")?;
        let (_, steps) = part("steps")?;
        let (_, activations) = part("activations")?;
        let whole = || Error::failure(format!("{} is no trajectory", path.display()));
        let [n, h, w, 3] = shape[..] else {
            return Err(whole());
        };
        let trajectory = images
            .chunks(h * w * 3)
            .zip(steps.chunks(8))
            .zip(activations.chunks(4))
            .map(|((image, step), activation)| {
                Some(Snapshot {
                    step: u64::from_le_bytes(step.try_into().ok()?) as usize,
                    activation: f32::from_le_bytes(activation.try_into().ok()?),
                    image: RgbImage::from_raw(w as u32, h as u32, image.to_vec())?,
                })
            })
            .collect::<Option<Vec<_>>>()
            .filter(|t| t.len() == n && n > 0)
            .ok_or_else(whole)?;
        let fault = Fault::in_file(&bytes).on("read", path)?;
        Ok(Self { request: request.clone(), trajectory, fault })
    }
}
