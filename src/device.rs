//! The Burn device a run uses.

use burn::tensor::Device;
use clap::ValueEnum;

use crate::error::{Error, Result};

/// The devices there can be; which of them a build has is decided by its cargo features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// The CPU, with Burn's flex backend with this crate's kernels (the default).
    Flex,
    /// The CPU, with ndarray (cargo feature `ndarray`).
    Ndarray,
    /// A GPU, through Vulkan, Metal, DX12 or GL (cargo feature `wgpu`; with `vulkan`, through Vulkan alone).
    Wgpu,
}

impl Kind {
    /// Opens the device.
    ///
    /// # Errors
    /// Usage, if this build has no such device.
    pub fn open(self) -> Result<Device> {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => Ok(Device::flex()),
            #[cfg(feature = "ndarray")]
            Self::Ndarray => Ok(Device::ndarray()),
            #[cfg(feature = "vulkan")]
            Self::Wgpu => Ok(Device::vulkan(burn::tensor::DeviceKind::DefaultDevice)),
            #[cfg(all(feature = "wgpu", not(feature = "vulkan")))]
            Self::Wgpu => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
            #[allow(unreachable_patterns)]
            other => {
                let name = other.name();
                Err(Error::usage(format!(
                    "this build has no device \"{name}\": build it with `cargo build --features {name}`"
                )))
            }
        }
    }

    /// Its name on the command line and in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Ndarray => "ndarray",
            Self::Wgpu => "wgpu",
        }
    }

    /// Whether one image at a time runs best on it, several side by side, or a batch.
    pub fn is_cpu(self) -> bool {
        matches!(self, Self::Flex | Self::Ndarray)
    }
}
