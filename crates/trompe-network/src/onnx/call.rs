//! One node of an ONNX graph, and its attributes.

use std::fmt;

use super::import::Refusal;
use super::proto;

/// A node.
pub struct Call<'a> {
    pub node: &'a proto::Node,
    /// Its position in the file, for those without a name.
    position: usize,
}

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node.domain.as_deref() {
            None | Some("" | "ai.onnx") => write!(f, "{} \"{}\"", self.operator(), self.name()),
            Some(domain) => write!(f, "{domain}.{} \"{}\"", self.operator(), self.name()),
        }
    }
}

impl<'a> Call<'a> {
    pub fn new(node: &'a proto::Node, position: usize) -> Self {
        Self { node, position }
    }

    /// The operator.
    pub fn operator(&self) -> &str {
        self.node.op_type.as_deref().unwrap_or("")
    }

    /// Whether it is one of ONNX's own.
    pub fn is_standard(&self) -> bool {
        matches!(self.node.domain.as_deref(), None | Some("" | "ai.onnx"))
    }

    /// What the layer may be called: the node's name, or its first output's.
    pub fn names(&self) -> Vec<String> {
        let names = [self.node.name.as_ref(), self.node.output.first()].into_iter().flatten();
        let mut names: Vec<String> = names.filter(|name| !name.is_empty()).cloned().collect();
        if names.is_empty() {
            names.push(format!("{}{}", self.operator(), self.position));
        }
        names
    }

    /// What messages call it.
    pub fn name(&self) -> String {
        self.names().swap_remove(0)
    }

    fn attribute(&self, name: &str) -> Option<&proto::Attribute> {
        self.node.attribute.iter().find(|a| a.name.as_deref() == Some(name))
    }

    /// Whether it is said at all.
    pub fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    fn get<T>(&self, name: &str, of: impl Fn(&proto::Attribute) -> Option<T>) -> Result<Option<T>, Refusal> {
        match self.attribute(name) {
            None => Ok(None),
            Some(attribute) => match of(attribute) {
                Some(value) => Ok(Some(value)),
                None => {
                    Err(Refusal::Wrong(format!("has an attribute {name} of another type than it should")))
                }
            },
        }
    }

    /// A whole number.
    pub fn int(&self, name: &str) -> Result<Option<i64>, Refusal> {
        self.get(name, |a| a.i)
    }

    /// A fraction.
    pub fn float(&self, name: &str, default: f32) -> Result<f64, Refusal> {
        let value = self.get(name, |a| a.f)?.unwrap_or(default);
        // 0.1f32 is meant as 0.1.
        let value: f64 = value.to_string().parse().unwrap_or(value.into());
        match value.is_finite() {
            true => Ok(value),
            false => Err(Refusal::Wrong(format!("has the {name} {value}"))),
        }
    }

    /// Whether a whole number is not 0.
    pub fn flag(&self, name: &str) -> Result<bool, Refusal> {
        Ok(self.int(name)?.unwrap_or(0) != 0)
    }

    /// A word.
    pub fn text(&self, name: &str) -> Result<Option<String>, Refusal> {
        self.get(name, |a| a.s.as_ref().and_then(|s| String::from_utf8(s.to_vec()).ok()))
    }

    /// Whole numbers.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|a| &a.ints[..])
    }

    /// Fractions.
    pub fn floats(&self, name: &str) -> Option<&[f32]> {
        self.attribute(name).map(|a| &a.floats[..])
    }

    /// A constant.
    pub fn tensor(&self, name: &str) -> Option<&proto::Tensor> {
        self.attribute(name).and_then(|a| a.t.as_ref())
    }

    /// Numbers for rows and columns, each at least 1.
    pub fn pair(&self, name: &str, default: Option<[usize; 2]>) -> Result<[usize; 2], Refusal> {
        let Some(ints) = self.ints(name) else {
            return default.ok_or_else(|| Refusal::Wrong(format!("has no {name}")));
        };
        match *ints {
            [y, x] if y >= 1 && x >= 1 && y.max(x) < 1 << 28 => Ok([y as usize, x as usize]),
            [_, _] => Err(Refusal::Wrong(format!("has the {name} {ints:?}"))),
            _ => Err(Refusal::Unsupported(format!("over {} dimensions instead of 2", ints.len()))),
        }
    }
}
