//! Files of weights as PyTorch and what is built on it write them: read whatever they are called, or told what they are.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use trompe::network::{Graph, Network, Op, op};
use trompe::seed;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights").join(name)
}

/// The network that the files' weights are for.
fn network(classes: usize) -> Network {
    let mut g = Graph::new("small", 3);
    g.then("conv", Op::conv(3, 2, 1, 1, 0));
    g.then("bn", Op::batch_norm(2));
    g.then("fc", Op::Linear(op::Linear { features: [2, classes], bias: true }));
    Network::new(g, &mut seed::rng(0, &0), &Device::default()).unwrap()
}

fn refused(network: Network, path: &Path) -> String {
    let error = network.load(path).unwrap_err();
    assert_eq!(error.exit_code(), 1, "{error}");
    error.to_string()
}

/// By hand, for one pixel of 1, 1, 1: the convolution gives 1 - 2 + ½ + ½ = 0 and 4 + ¼ - 1 - ½ = 2.75; the batch norm
/// 2 · (0 - ¼) / 2 = -¼ and (2.75 + ¼) / 1 + 1 = 4.
#[test]
fn weights_of_every_kind_are_the_same_weights() {
    let want = [-0.25 + 8.0 + 0.125, -0.75 + 16.0 + 0.25, -1.25 + 24.0 + 0.5];
    for (name, note) in [
        ("plain.pth", ""),
        ("UPPER.PTH", ""),
        ("pytorch_model.bin", ""),
        ("legacy.pth", ""),
        ("half.pth", ""),
        ("bfloat16.pth", ""),
        ("double.pth", ""),
        ("mixed.pth", ""),
        ("half.safetensors", ""),
        ("bfloat16.safetensors", ""),
        ("double.safetensors", ""),
        ("views.pth", ""),
        ("channels_last.pth", ""),
        ("whole_module.pth", ""),
        ("checkpoint.pth.tar", "\"state_dict.module.\""),
        ("lightning.ckpt", "\"state_dict.model.\""),
        ("model.pth", "\"model.\""),
        ("ema.pth", "\"state_dict.\""),
    ] {
        let loaded = network(3).load(&fixture(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let x = Tensor::from_data(TensorData::new(vec![1f32; 3], [1, 3, 1, 1]), &Device::default());
        let got: Vec<f32> = loaded.logits(x).into_data().try_to_vec().unwrap();
        assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-4), "{name}: {got:?}, not {want:?}");
        let notes = loaded.notes().join("\n");
        assert!(notes.contains(note) && notes.is_empty() == note.is_empty(), "{name}: {notes}");
    }
}

#[test]
fn what_is_wrong_with_weights_is_said_by_pytorchs_names() {
    for (name, words) in [
        ("nan.pth", &["conv.bias", "NaN"][..]),
        ("negative_variance.pth", &["bn.running_var", "-1"]),
        ("too_large.pth", &["fc.bias", "infinite", "32 bits"]),
        ("whole_numbers.pth", &["fc.bias", "I64", "fractions"]),
        ("other_classes.pth", &["fc.weight is [7, 2], the network has [3, 2]", "network.classes = 7"]),
        ("other_names.pth", &["backbone_bn.bias", "conv.weight", "network.builder"]),
        ("script.pt", &["state_dict", "torch.save"]),
        ("cut.pth", &["cut short"]),
    ] {
        let message = refused(network(3), &fixture(name));
        for word in [&[name], words].concat() {
            assert!(message.contains(word), "no \"{word}\" in: {message}");
        }
    }
    assert!(network(7).load(&fixture("other_classes.pth")).is_ok());
}

#[test]
fn what_is_no_file_of_weights_is_told_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weights.pth");
    for (bytes, words) in [
        (&b""[..], "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:5945\nsize 435852734\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"{\"metadata\": {}, \"weight_map\": {\"a\": \"model-00001-of-00002.safetensors\"}}", "index"),
        (b"\x1f\x8b\x08\0", "unpack"),
        (b"\x89HDF\r\n\x1a\n", "tf2onnx"),
        (b"\x08\x08\x12\x07pytorch", "holds no weights"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        let message = refused(network(3), &file);
        assert!(message.contains("weights.pth") && message.contains(words), "{message}");
        if words != "holds no weights" {
            let message = Network::open(&file, &Device::default()).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }
    // Weights alone are no network; a folder and nothing at all are no files.
    let message = Network::open(&fixture("plain.pth"), &Device::default()).unwrap_err().to_string();
    assert!(message.contains("network.builder") && message.contains("torch.onnx.export"), "{message}");
    for path in [folder.path(), &folder.path().join("none.pth")] {
        assert_eq!(network(3).load(path).unwrap_err().exit_code(), 2);
    }
    // A TensorFlow graph.
    let graph = folder.path().join("frozen.pb");
    std::fs::write(&graph, b"\x0a\x10\x0a\x01x\x12\x0bPlaceholder").unwrap();
    let message = Network::open(&graph, &Device::default()).unwrap_err().to_string();
    assert!(message.contains("--inputs-as-nchw"), "{message}");
}
