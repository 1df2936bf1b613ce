//! What the rows of a map stand for.

/// What the rows of a map stand for. A stream of tokens is a map of one column, a token a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Places of the image, after so many tokens that stand for none, as class tokens and registers do.
    Places {
        /// How many rows come before the places.
        after: usize,
    },
    /// So many tokens that stand for no place. Constants are such, and what is made of a whole image, as by a global average.
    Tokens(usize),
}

impl Default for Rows {
    fn default() -> Self {
        Self::Places { after: 0 }
    }
}

impl Rows {
    /// The rows of what is computed row by row from maps with these.
    pub fn kept(inputs: &[Self]) -> Self {
        // What is the same everywhere is added to places, and makes no tokens of them.
        let places = inputs.iter().filter(|rows| matches!(rows, Self::Places { .. }));
        let all = if places.clone().next().is_some() {
            places.collect()
        } else {
            inputs.iter().collect::<Vec<_>>()
        };
        let first = |rows: &&&Self| match rows {
            Self::Places { after } => *after,
            Self::Tokens(count) => *count,
        };
        all.iter().max_by_key(first).map_or_else(Self::default, |rows| **rows)
    }

    /// The rows of what is computed from maps with these as a whole.
    pub fn made(inputs: &[Self]) -> Self {
        match inputs.iter().all(|rows| matches!(rows, Self::Tokens(_))) && !inputs.is_empty() {
            true => Self::Tokens(1),
            false => Self::default(),
        }
    }

    /// The rows of maps one below another.
    pub fn joined(inputs: &[Self]) -> Self {
        let mut count = 0;
        for rows in inputs {
            match rows {
                Self::Tokens(tokens) => count += tokens,
                Self::Places { after } => return Self::Places { after: count + after },
            }
        }
        Self::Tokens(count)
    }

    /// The rows from `start` to before `end`, where negative numbers count from the end.
    pub fn sliced(self, start: i64, end: i64) -> Self {
        match self {
            Self::Tokens(count) => {
                let place = |at: i64| {
                    (if at < 0 { at.saturating_add(count as i64) } else { at }).clamp(0, count as i64)
                };
                Self::Tokens((place(end) - place(start)).max(0) as usize)
            }
            Self::Places { .. } if start < 0 => Self::default(),
            Self::Places { after } => match end {
                0.. if end <= after as i64 => Self::Tokens((end - start).max(0) as usize),
                _ => Self::Places { after: (after as i64 - start).max(0) as usize },
            },
        }
    }

    /// How many tokens there are that stand for no place.
    pub fn tokens(self) -> usize {
        match self {
            Self::Places { after } => after,
            Self::Tokens(count) => count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_token_goes_along_a_stream() {
        let patches = Rows::default();
        let token = Rows::Tokens(1);
        let stream = Rows::joined(&[token, patches]);
        assert_eq!(stream, Rows::Places { after: 1 });
        // A position for each of 65 rows, which is a constant.
        assert_eq!(Rows::kept(&[stream, Rows::Tokens(65)]), stream);
        assert_eq!(Rows::kept(&[Rows::Tokens(65), stream]), stream);
        assert_eq!(stream.sliced(0, 1), token);
        assert_eq!(stream.sliced(1, i64::MAX), patches);
        assert_eq!(stream.sliced(0, i64::MAX), stream);
        assert_eq!(Rows::joined(&[Rows::Tokens(4), stream]).tokens(), 5);
        assert_eq!(Rows::made(&[stream]), Rows::default());
        assert_eq!(Rows::made(&[token]), Rows::Tokens(1));
    }
}
