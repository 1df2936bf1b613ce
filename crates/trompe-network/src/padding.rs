//! The margin of zeros (or, for a maximum, of nothing) around a map.

use serde::{Deserialize, Serialize, Serializer};

/// How wide the margin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, from = "Written")]
pub enum Padding {
    /// Rows above and below, columns left and right.
    Symmetric([usize; 2]),
    /// Top, left, bottom, right.
    Sides([usize; 4]),
    /// What makes the output as large as the input, divided by the stride and rounded up.
    Same(Same),
}

/// How files write it: a pool's is one number where that says it all.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Square(usize),
    Symmetric([usize; 2]),
    Sides([usize; 4]),
    Same(Same),
}

impl From<Written> for Padding {
    fn from(written: Written) -> Self {
        match written {
            Written::Square(p) => Self::Symmetric([p, p]),
            Written::Symmetric(pair) => Self::Symmetric(pair),
            Written::Sides(sides) => Self::Sides(sides),
            Written::Same(same) => Self::Same(same),
        }
    }
}

/// Where [`Padding::Same`] puts a row or column that two sides cannot share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Same {
    /// Below and on the right.
    SameUpper,
    /// Above and on the left.
    SameLower,
}

impl Padding {
    /// The margin before and after, by rows and by columns, of a map of `size` under such windows.
    pub fn around(
        self,
        size: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
    ) -> [(usize, usize); 2] {
        match self {
            Self::Symmetric([y, x]) => [(y, y), (x, x)],
            Self::Sides([top, left, bottom, right]) => [(top, bottom), (left, right)],
            Self::Same(same) => std::array::from_fn(|d| {
                let output = size[d].div_ceil(stride[d].max(1));
                let reach =
                    output.saturating_sub(1) * stride[d] + dilation[d] * kernel[d].saturating_sub(1) + 1;
                let total = reach.saturating_sub(size[d]);
                let (small, large) = (total / 2, total - total / 2);
                match same {
                    Same::SameUpper => (small, large),
                    Same::SameLower => (large, small),
                }
            }),
        }
    }

    /// Whether there is none.
    pub fn is_none(self) -> bool {
        self.plain() == Self::Symmetric([0, 0])
    }

    /// The plainest way to say the same.
    pub fn plain(self) -> Self {
        match self {
            Self::Sides([top, left, bottom, right]) if top == bottom && left == right => {
                Self::Symmetric([top, left])
            }
            other => other,
        }
    }
}

/// A pool's margin: one number where that says it all.
pub(super) fn of_pool<S: Serializer>(padding: &Padding, serializer: S) -> Result<S::Ok, S::Error> {
    match padding {
        Padding::Symmetric([y, x]) if y == x => y.serialize(serializer),
        other => other.serialize(serializer),
    }
}

/// Rows and columns: one number where they agree.
pub(super) mod pair {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        One(usize),
        Two([usize; 2]),
    }

    pub fn serialize<S: Serializer>(pair: &[usize; 2], serializer: S) -> Result<S::Ok, S::Error> {
        match pair {
            [y, x] if y == x => y.serialize(serializer),
            other => other.serialize(serializer),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[usize; 2], D::Error> {
        Ok(match Either::deserialize(deserializer)? {
            Either::One(n) => [n; 2],
            Either::Two(pair) => pair,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Op;

    /// The sizes of the ONNX standard's own example: 32 pixels, kernel 3, stride 2.
    #[test]
    fn same_padding_halves_a_map_and_leans_to_its_side() {
        for (same, rows) in [(Same::SameUpper, (0, 1)), (Same::SameLower, (1, 0))] {
            let around = Padding::Same(same).around([32, 33], [3, 3], [2, 2], [1, 1]);
            assert_eq!(around, [rows, (1, 1)]);
        }
        let dilated = Padding::Same(Same::SameUpper).around([10, 10], [3, 2], [1, 1], [2, 3]);
        assert_eq!(dilated, [(2, 2), (1, 2)]);
    }

    #[test]
    fn files_of_before_are_read_and_written_as_they_were() {
        for text in ["[1,1]", "[1,2]", "[0,0,1,1]", "\"same_upper\""] {
            let padding: Padding = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&padding).unwrap(), text);
        }
        let pool = r#"{"op":"max_pool","kernel":3,"stride":2,"padding":1,"ceil":true}"#;
        let op: Op = serde_json::from_str(pool).unwrap();
        assert_eq!(op, Op::max_pool(3, 2, 1, true));
        assert_eq!(serde_json::to_string(&op).unwrap(), pool);
    }
}
