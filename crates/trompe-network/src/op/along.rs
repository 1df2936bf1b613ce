//! The axes of a map.

use serde::{Deserialize, Serialize};

use crate::onnx::Axis;

/// An axis of a map that an operator works along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Along {
    /// From channel to channel.
    #[default]
    Channels,
    /// From row to row; tokens are rows.
    Rows,
    /// From column to column.
    Columns,
}

impl Along {
    /// Its place in `[N, C, H, W]`.
    pub fn dim(self) -> usize {
        self as usize + 1
    }

    /// Whether it is the one that files don't name.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The axis of a map that a file's axis stands for, if it is none of the images.
    pub(super) fn of(axis: Axis) -> Option<Self> {
        match axis {
            Axis::Channels => Some(Self::Channels),
            Axis::Rows => Some(Self::Rows),
            Axis::Columns => Some(Self::Columns),
            Axis::Batch | Axis::One => None,
        }
    }
}
