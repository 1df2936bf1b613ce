//! Networks from and to ONNX files.
//!
//! A file's nodes become layers of the same names, one each where one layer computes the node. What only moves or renames
//! axes (Transpose, Squeeze, Flatten of a 1x1 map, …) and what does nothing at inference (Identity, Dropout) leaves no
//! layer; constants that are added or multiplied become layers of their own.

mod array;
mod call;
mod constants;
mod export;
mod import;
mod proto;
pub(super) mod read;
mod structure;
#[cfg(test)]
mod tests;
mod view;

use std::path::Path;

use burn::tensor::Device;
use prost::Message;
use prost::bytes::Bytes;

pub(super) use array::{Array, Number};
pub(super) use call::Call;
pub(super) use export::{Writer, described, float, int, ints, pads, text, whole};
pub(super) use import::{Axis, Import, MAP, Map, Refusal, Value};
pub(super) use read::{Done, Reader, unsupported, wrong};
pub(super) use view::{IMAGES, Part, View, whole as whole_axis};

use super::Network;
use trompe_base::error::{Context, Error, Result};
use trompe_base::files::{self, folder_of};

/// The metadata key under which an exported network keeps the size of the images it is for.
const SIZE: &str = "trompe.size";

/// The metadata key under which it keeps why images have to have that size, if they do.
const SIZED_BY: &str = "trompe.sized_by";

/// Whether a file is an ONNX file, by its ending.
pub fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx"))
}

/// Whether a file is an ONNX file that another program wrote. One that can't be read is nobody's.
pub fn is_foreign(path: &Path) -> bool {
    let model = || proto::Model::decode(Bytes::from(std::fs::read(path).ok()?)).ok();
    is_onnx(path) && model().is_some_and(|model| model.producer_name.as_deref() != Some(export::PRODUCER))
}

/// The network in an ONNX file, called after it, up to the value or node that is to be its output: by default the first
/// output of the file.
///
/// # Errors
/// Failure, naming the file and the node, if it can't be read, is wrong, or asks for what Trompe can't compute: then every
/// such node is listed.
pub fn read(path: &Path, output: Option<&str>, device: &Device) -> Result<Network> {
    let bytes = std::fs::read(path).on("read", path)?;
    let name = path.file_stem().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let parent = folder_of(path);
    let named = |what: String| format!("{} {what}", path.display());
    let model = decode(bytes).map_err(|what| Error::failure(named(what)))?;
    if let (Some(graph), Some(_)) = (&model.graph, output) {
        import::output_of(graph, output).map_err(|what| Error::usage(named(what)))?;
    }
    import::import(&model, &name, parent, output, device).map_err(|what| Error::failure(named(what)))
}

fn decode(bytes: Vec<u8>) -> Result<proto::Model, String> {
    proto::Model::decode(Bytes::from(bytes))
        .map_err(|e| format!("is no whole ONNX file ({e}); fetch or export it again"))
}

#[cfg(test)]
fn from_bytes(
    bytes: Vec<u8>,
    name: &str,
    folder: &Path,
    output: Option<&str>,
    device: &Device,
) -> Result<Network, String> {
    import::import(&decode(bytes)?, name, folder, output, device)
}

/// Writes a network to an ONNX file, replacing it only once all is written.
///
/// # Errors
/// Failure, if the file can't be written.
pub fn write(network: &Network, path: &Path) -> Result<()> {
    files::write(path, &export::export(network).encode_to_vec())
}
