//! Layers by other names than their own: those of PyTorch's modules, and ends of names that say enough.

use std::collections::BTreeSet;

use trompe_base::error::{Error, Result};

use crate::graph::nearest;
use crate::{Graph, INPUT, Op};

/// The name of the PyTorch module that a node of an exported file is from: `layer3.1.conv2` for
/// `/layer3/layer3.1/conv2/Conv`. A name of another kind is the module's.
fn module(layer: &str) -> String {
    let Some(scopes) = layer.strip_prefix('/').and_then(|path| path.rsplit_once('/')) else {
        return layer.trim_start_matches('/').into();
    };
    let mut module = String::new();
    for scope in scopes.0.split('/') {
        // A scope has the last name of its module alone, or some of the names before it, too: all of them, or those since a list
        // of modules began.
        let starts = module.match_indices('.').map(|(at, _)| &module[at + 1..]);
        let before = std::iter::once(module.as_str())
            .chain(starts)
            .find(|end| scope.strip_prefix(end).is_some_and(|rest| rest.starts_with('.') && !end.is_empty()));
        module = match before {
            Some(end) => format!("{module}{}", &scope[end.len()..]),
            None if module.is_empty() => scope.into(),
            None => format!("{module}.{scope}"),
        };
    }
    module
}

/// Whether a name is another or ends with it, after a dot or a slash.
fn ends_with(name: &str, end: &str) -> bool {
    name.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with(['.', '/']))
}

impl Graph {
    /// The layer that is meant: the one of this name; the last one of the PyTorch module of this name (`layer3.1`,
    /// `layer4[1].conv2`), which is the module's output; or the only layer or module whose name ends so.
    ///
    /// # Errors
    /// Usage, with the names that it could mean or that are most like it, if there is none or more than one.
    pub fn find(&self, wish: &str) -> Result<&str> {
        if let Some(node) = self.nodes.iter().find(|node| node.name == wish) {
            return Ok(&node.name);
        }
        let dotted = wish.replace('[', ".").replace(']', "");
        let wish = dotted.trim_start_matches('.');
        if wish.is_empty() {
            return Err(self.position(&dotted).expect_err("no layer has this name"));
        }
        let modules: Vec<String> = self.nodes.iter().map(|node| module(&node.name)).collect();
        let inside = |module: &str, of: &str| {
            module.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let last = |of: &str| {
            let own = || self.nodes.iter().zip(&modules).filter(|(_, module)| inside(module, of));
            // A constant is a module's output only if there is nothing else.
            own().rfind(|(node, _)| !matches!(node.op, Op::Constant(_))).or_else(|| own().next_back())
        };
        if let Some((node, _)) = last(wish) {
            return Ok(&node.name);
        }
        let layers: Vec<&str> = self.layers().filter(|layer| ends_with(layer, wish)).collect();
        if let [only] = layers[..] {
            return Ok(only);
        }
        // Modules and those around them, as layer3 of /layer3/layer3.1/conv2/Conv.
        let around = modules.iter().flat_map(|module| {
            let dots = module.match_indices('.').map(|(at, _)| &module[..at]);
            dots.chain([module.as_str()])
        });
        let around: BTreeSet<&str> = around.collect();
        let meant: Vec<&str> = around.iter().copied().filter(|module| ends_with(module, wish)).collect();
        match meant[..] {
            [only] => Ok(&last(only).expect("a layer is in it").0.name),
            [] => Err(Error::usage(format!(
                "network {} has no layer \"{wish}\"{} (`trompe layers` lists all {})",
                self.name,
                nearest(wish, around.into_iter().filter(|module| *module != INPUT)),
                self.nodes.len().saturating_sub(1)
            ))),
            _ => {
                let some: Vec<String> = meant.iter().take(6).map(|name| format!("\"{name}\"")).collect();
                Err(Error::usage(format!(
                    "network {} has {} layers that \"{wish}\" may mean: {}{}",
                    self.name,
                    meant.len(),
                    some.join(", "),
                    if meant.len() > 6 { ", …" } else { "" }
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op;

    fn graph() -> Graph {
        let mut g = Graph::new("net", 3);
        for name in [
            "/conv1/Conv",
            "/layer1/layer1.0/conv1/Conv",
            "/layer1/layer1.0/relu/Relu",
            "/layer1/layer1.0/conv2/Conv",
            "/layer1/layer1.0/Add",
            "/layer1/layer1.0/relu_1/Relu",
            "/layer1/layer1.10/conv1/Conv",
            "/head/fc/Gemm",
            "plain.name",
            "node_relu_3",
        ] {
            g.push(name, op::Relu, &[INPUT]);
        }
        g
    }

    /// Lists of modules within lists; a module's parameter is not the module.
    #[test]
    fn lists_of_modules_are_within_others() {
        for (layer, name) in [
            ("/layers/layers.2/blocks/blocks.2/mlp/fc1/Add", "layers.2.blocks.2.mlp.fc1"),
            ("/features/features.5/features.5.2/block/block.0/block.0.1/Clip", "features.5.2.block.0.1"),
            ("/layer1/layer1.0/conv2/Conv", "layer1.0.conv2"),
        ] {
            assert_eq!(module(layer), name);
        }
        let mut g = Graph::new("net", 3);
        g.push("/layers/layers.2/blocks/blocks.2/mlp/fc1/MatMul", op::Relu, &[INPUT]);
        g.push("layers.2.blocks.2.mlp.fc1.bias", op::Constant { shape: [3, 1, 1] }, &[]);
        assert_eq!(
            g.find("layers.2.blocks.2.mlp.fc1").unwrap(),
            "/layers/layers.2/blocks/blocks.2/mlp/fc1/MatMul"
        );
        assert_eq!(g.find("layers.2.blocks.2.mlp.fc1.bias").unwrap(), "layers.2.blocks.2.mlp.fc1.bias");
    }

    #[test]
    fn layers_are_found_as_pytorch_calls_them() {
        let g = graph();
        for (wish, layer) in [
            ("/layer1/layer1.0/Add", "/layer1/layer1.0/Add"),
            ("layer1.0", "/layer1/layer1.0/relu_1/Relu"),
            ("layer1[0]", "/layer1/layer1.0/relu_1/Relu"),
            ("layer1.0.conv2", "/layer1/layer1.0/conv2/Conv"),
            ("layer1[0].conv2", "/layer1/layer1.0/conv2/Conv"),
            ("layer1.1", ""),
            ("layer1", "/layer1/layer1.10/conv1/Conv"),
            ("conv1", "/conv1/Conv"),
            ("conv2", "/layer1/layer1.0/conv2/Conv"),
            ("fc", "/head/fc/Gemm"),
            ("Gemm", "/head/fc/Gemm"),
            ("name", "plain.name"),
            ("node_relu_3", "node_relu_3"),
            ("Conv", ""),
            ("", ""),
        ] {
            match g.find(wish) {
                Ok(found) => assert_eq!(found, layer, "{wish}"),
                Err(_) => assert_eq!(layer, "", "{wish}"),
            }
        }
    }

    #[test]
    fn a_name_that_may_mean_several_is_refused_with_them() {
        let mut g = graph();
        g.push("/layer2/layer2.0/conv2/Conv", op::Relu, &[INPUT]);
        let error = g.find("conv2").unwrap_err().to_string();
        assert!(error.contains("\"layer1.0.conv2\", \"layer2.0.conv2\""), "{error}");
        let error = g.find("layer3").unwrap_err().to_string();
        assert!(error.contains("did you mean \"layer1\""), "{error}");
    }
}
