#!/usr/bin/env python3
"""Compares what Trompe makes of ONNX files with ONNX Runtime, layer by layer, and prints the tables of docs/onnx.md.

    python3 -m venv venv
    venv/bin/pip install onnx onnxruntime torch torchvision timm onnxscript safetensors pillow
    cargo build
    venv/bin/python scripts/onnx-conformance.py --data DIR [--work DIR] [data light torchvision timm dynamo node lucid fooled …]

`data`: the files of DIR (squeezenet1_0-imagenet/, resnet20-cifar10/, imagenette/, cifar-10-batches-bin/) on 50 images.
`light`: the architectures that the onnx package carries, with random weights written in.
`torchvision`: its architectures, exported with random weights.
`timm`: transformers, mixers and CNNs of the timm package, likewise.
`dynamo`: both, by PyTorch's newer exporter.
`node`: the onnx package's tests of single operators.
`lucid`: the builder inception_v1 against torch-lucent's module.
`fooled`: networks that Trompe exported, as pairs NAME.onnx and NAME.safetensors in the folder --fooled.

A layer agrees if its largest difference is at most 1e-3 of its largest value.
"""

import argparse
import glob
import itertools
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from safetensors import safe_open
from safetensors.numpy import save_file

TOLERANCE = 1e-3
rng = np.random.default_rng(0)


def trompe(*arguments):
    return subprocess.run([options.trompe, *arguments], capture_output=True, text=True)


def message(outcome):
    """Trompe's error, in one line."""
    lines = [line.strip() for line in outcome.stderr.strip().splitlines()]
    text = " ".join(lines)
    return text.split("error: ", 1)[-1].replace(options.work + "/", "")


def activations(model, images, *layers):
    """Layers of a file for images [N, C, H, W], all unless some are named, and the output layer's name; or an error."""
    source, out = os.path.join(options.work, "input.safetensors"), os.path.join(options.work, "out.safetensors")
    save_file({"images": np.ascontiguousarray(images, np.float32)}, source)
    flags = [flag for layer in layers for flag in ("--layer", layer)]
    outcome = trompe("activations", model, source, *flags, "--out", out)
    if outcome.returncode != 0:
        return None, None, message(outcome)
    with safe_open(out, "numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()["output"], None


def session(model):
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    # Intermediate values as the file has them: nothing fused.
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])


def reference(model, images):
    """Every value of a file, by name, from ONNX Runtime."""
    inferred = onnx.shape_inference.infer_shapes(model)
    kinds = {v.name: v.type.tensor_type.elem_type for v in inferred.graph.value_info}
    known = {o.name for o in model.graph.output}
    full = onnx.ModelProto()
    full.CopyFrom(model)
    for node in model.graph.node:
        for name in node.output:
            if name and name not in known and kinds.get(name) == onnx.TensorProto.FLOAT:
                full.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    run = session(full)
    name = run.get_inputs()[0].name
    batch = run.get_inputs()[0].shape[0]
    step = batch if isinstance(batch, int) else len(images)
    parts = [run.run(None, {name: images[i : i + step]}) for i in range(0, len(images), step)]
    names = [o.name for o in run.get_outputs()]
    return {n: np.concatenate([p[k] for p in parts]) if parts[0][k].ndim else parts[0][k] for k, n in enumerate(names)}


def difference(ours, theirs):
    """The largest difference as a share of the largest value; none, if the shapes can't be brought together. A file may have the
    axes in any order, and several where a layer has one, so the best order counts. What is infinite or no number has to be so
    in both."""
    if ours.size != theirs.size:
        return None
    # Axes of size 1 don't matter.
    parts = theirs.reshape([n for n in theirs.shape if n != 1])
    if parts.ndim > 5:
        return None
    orders = [np.transpose(parts, order) for order in itertools.permutations(range(parts.ndim))]
    least = min(distance(ours, other.reshape(ours.shape)) for other in orders)
    # Windows of an image, which the file has among its images, have no order of axes here: their values alone are compared.
    return least if least <= TOLERANCE else distance(np.sort(ours, axis=None), np.sort(theirs, axis=None))


def distance(ours, theirs):
    """The largest difference as a share of the largest value."""
    finite = np.isfinite(theirs)
    if not np.array_equal(ours[~finite], theirs[~finite], equal_nan=True) or not np.isfinite(ours[finite]).all():
        return float("inf")
    if not finite.any():
        return 0.0
    ours, theirs = ours[finite], theirs[finite]
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-30))


def compare(model, path, images):
    """Largest difference of the output, computed by itself, and of any layer, which layer, and how many; or an error."""
    ours, output, error = activations(path, images)
    if error:
        return None, error
    # Layers that nobody asks for are computed together.
    together, _, error = activations(path, images, output)
    if error:
        return None, error
    theirs = reference(model, images)
    values = {}
    for node in model.graph.node:
        for k, name in enumerate(node.output):
            values[name] = name
            values[f"{node.name}.{k}"] = name
        if node.output:
            values[node.name] = node.output[0]
    worst, where, layers = 0.0, "", 0
    for name, ours_here in ours.items():
        if values.get(name) not in theirs:
            continue
        d = difference(ours_here, theirs[values[name]])
        if d is None:
            continue
        layers += 1
        if d > worst:
            worst, where = d, name
    final = difference(together[output], theirs[model.graph.output[0].name])
    final = float("inf") if final is None else final
    return (final, worst, where, layers), None


def verdict(result, error):
    if error:
        # Every node is named; a table has room for a few.
        if len(error) > 240:
            error = error[:240].rsplit(" ", 2)[0] + " …"
        return f"| no | | | | {error} |"
    final, worst, where, layers = result
    passed = "yes" if max(final, worst) <= TOLERANCE else "NO"
    return f"| {passed} | {layers} | {final:.1e} | {worst:.1e} | |"


HEADER = "| passes | layers compared | output differs by | worst layer by | message |\n|---|---|---|---|---|---|"


def photographs(n):
    from PIL import Image

    files = []
    for folder in sorted(glob.glob(os.path.join(options.data, "imagenette/val/*"))):
        files += sorted(glob.glob(folder + "/*"))[: n // 10]
    return [np.asarray(Image.open(f).convert("RGB"), np.float32) for f in files]


def part_data():
    print("\n| file | images " + HEADER.replace("|---|---|---|---|---|---|", "|---|---|---|---|---|---|---|"))
    caffe = np.stack([p[:, :, ::-1] - np.float32([104, 117, 123]) for p in photographs(50)]).transpose(0, 3, 1, 2)
    bytes_ = np.fromfile(os.path.join(options.data, "cifar-10-batches-bin/test_batch.bin"), np.uint8)
    cifar = bytes_.reshape(-1, 3073)[:50, 1:].reshape(-1, 3, 32, 32).astype(np.float32) / 255
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    cifar = (cifar - mean[:, None, None]) / std[:, None, None]
    for name, images in [("squeezenet1_0-imagenet", caffe), ("resnet20-cifar10", cifar)]:
        path = os.path.join(options.data, name, "model.onnx")
        model = onnx.load(path)
        total = None
        for i in range(0, len(images), 10):
            result, error = compare(model, path, images[i : i + 10].copy())
            if error:
                break
            worse = max(total or result, result, key=lambda r: r[1])
            final = max(total[0] if total else 0, result[0])
            total = (final, *worse[1:])
        print(f"| {name} | {len(images)} {verdict(total, error)}", flush=True)


def random_weights(model):
    """Writes random weights where a light model has constants."""
    sizes = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    readers = {}
    for node in model.graph.node:
        for k, name in enumerate(node.input):
            readers.setdefault(name, []).append((node, k))

    def drawn(name, shape):
        node, k = readers[name][0]
        if node.op_type == "Unsqueeze":
            return drawn(node.output[0], shape)
        if node.op_type == "BatchNormalization":
            return rng.uniform(0.5, 1.5, shape) if k in (1, 4) else 0.1 * rng.standard_normal(shape)
        if node.op_type == "Mul":
            return rng.uniform(0.5, 1.5, shape)
        if len(shape) >= 2:
            return rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        return 0.1 * rng.standard_normal(shape)

    nodes, used = [], set()
    for node in model.graph.node:
        if node.op_type == "ConstantOfShape":
            shape = tuple(int(d) for d in sizes[node.input[0]])
            if node.output[0] in readers:
                value = drawn(node.output[0], shape).astype(np.float32)
                model.graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        else:
            nodes.append(node)
            used.update(node.input)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    parameters = {t.name for t in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name in used and i.name not in parameters]
    kept = [t for t in model.graph.initializer if t.name in used]
    del model.graph.input[:], model.graph.initializer[:]
    model.graph.input.extend(inputs)
    model.graph.initializer.extend(kept)
    model.ir_version = max(model.ir_version, 4)
    return model


def part_light():
    print("\n| model " + HEADER)
    folder = os.path.join(os.path.dirname(onnx.__file__), "backend/test/data/light")
    for file in sorted(glob.glob(folder + "/*.onnx")):
        name = os.path.basename(file)[len("light_") : -len(".onnx")]
        model = random_weights(onnx.load(file))
        path = os.path.join(options.work, "model.onnx")
        onnx.save(model, path)
        dims = model.graph.input[0].type.tensor_type.shape.dim
        images = rng.standard_normal([2] + [d.dim_value for d in dims][1:]).astype(np.float32)
        print(f"| {name} {verdict(*compare(model, path, images))}", flush=True)


TORCHVISION = """alexnet resnet18 resnet50 vgg16_bn mobilenet_v2 mobilenet_v3_large densenet121 efficientnet_b0 googlenet
inception_v3 regnet_y_400mf shufflenet_v2_x1_0 mnasnet1_0 convnext_tiny vit_b_16 swin_t maxvit_t""".split()


def from_torchvision(name):
    """A network of torchvision with random weights, and the side of its images."""
    import torch
    import torchvision

    torch.manual_seed(0)
    extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    network = getattr(torchvision.models, name)(weights=None, **extra)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return network.eval(), 299 if name == "inception_v3" else 224


def from_timm(name):
    """A network of timm with random weights, and the side of its images."""
    import timm
    import torch

    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False, **({"img_size": 224} if "dinov2" in name else {}))
    # Scales, shifts, embeddings and heads that start at 0 or 1 would hide mistakes.
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            if parameter.ndim == 1 or any(word in key for word in ("pos", "token", "head", "gamma", "bias")):
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return network.eval(), 224 if "dinov2" in name else network.default_cfg["input_size"][-1]


def wanted(names):
    return [name for name in names if not options.only or name in options.only]


def exported(name, network, size, images=1, **how):
    """Prints the row of a network that PyTorch exports."""
    import torch

    path = os.path.join(options.work, name + ".onnx")
    try:
        torch.onnx.export(
            network, torch.zeros(images, 3, size, size), path, input_names=["input"], output_names=["logits"], **how
        )
    except Exception as error:
        print(f"| {name} | - | | | | PyTorch doesn't export it: {type(error).__name__} |", flush=True)
        return
    pixels = rng.standard_normal((2, 3, size, size)).astype(np.float32)
    print(f"| {name} {verdict(*compare(onnx.load(path), path, pixels))}", flush=True)
    for file in glob.glob(path + "*"):
        os.remove(file)


def part_torchvision():
    print("\n| model " + HEADER)
    axes = {"input": {0: "batch"}, "logits": {0: "batch"}}
    for name in wanted(TORCHVISION):
        exported(name, *from_torchvision(name), 2, opset_version=17, dynamo=False, dynamic_axes=axes)


def part_dynamo():
    """All of torchvision's and timm's, by PyTorch's newer exporter, for one image."""
    import contextlib
    import io

    print("\n| model " + HEADER)
    for name, make in [(n, from_torchvision) for n in wanted(TORCHVISION)] + [(n, from_timm) for n in wanted(TIMM)]:
        network, size = make(name)
        # The exporter talks.
        with contextlib.redirect_stdout(io.StringIO()) as said:
            exported(name, network, size, dynamo=True)
        print(said.getvalue().splitlines()[-1], flush=True)


TIMM = """vit_tiny_patch16_224 deit_tiny_patch16_224 vit_small_patch14_dinov2 beit_base_patch16_224 cait_xxs24_224
xcit_nano_12_p16_224 pit_ti_224 levit_128s swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 hiera_tiny_224
maxvit_tiny_tf_224 coatnet_nano_rw_224 tiny_vit_5m_224 efficientformer_l1 mobilevit_xxs mobilevitv2_050 mixer_s32_224
resmlp_12_224 gmlp_ti16_224 poolformer_s12 convnext_atto convnextv2_atto edgenext_xx_small ecaresnet50d skresnet18 resnest14d
tf_efficientnet_lite0 nf_regnet_b0 nfnet_l0""".split()


def part_timm():
    """Networks of the timm package, exported for one image and run on two."""
    print("\n| model " + HEADER)
    for name in wanted(TIMM):
        exported(name, *from_timm(name), opset_version=17, dynamo=False)


def part_lucid():
    """The builder inception_v1 against torch-lucent's module, with the builder's random weights in both."""
    import torch
    from lucent.modelzoo.inceptionv1.InceptionV1 import InceptionV1

    path = os.path.join(options.work, "inception.onnx")
    outcome = trompe("export", "inception_v1", path)
    if outcome.returncode != 0:
        sys.exit(message(outcome))
    weights = {t.name: torch.tensor(numpy_helper.to_array(t)) for t in onnx.load(path).graph.initializer}
    module = InceptionV1(pretrained=False, redirected_ReLU=False).eval()
    own = module.state_dict()
    # Lucid's last layer has 1008 outputs, this one 1000; a linear layer's weight is the other way round here.
    last = [n for n in own if n.startswith("softmax2")]
    for name in own:
        values = weights[name]
        own[name] = values.T.contiguous() if values.shape == own[name].shape[::-1] and values.ndim == 2 else values
        if name in last and own[name].shape[0] != 1008:
            own[name] = (values.T if values.ndim == 2 else values)
    module.softmax2_pre_activation_matmul = torch.nn.Linear(1024, 1000)
    module.load_state_dict(own)
    seen = {}
    for name, part in module.named_modules():
        part.register_forward_hook(lambda m, i, o, name=name: seen.update({name: o.detach().numpy()}))
    images = (40 * rng.standard_normal((2, 3, 224, 224))).astype(np.float32)
    with torch.no_grad():
        module(torch.tensor(images))
    ours, _, error = activations(path, images)
    if error:
        sys.exit(error)
    both = [name for name in seen if name in ours]
    worst = max((difference(ours[name], seen[name].reshape(ours[name].shape)), name) for name in both)
    print(f"\nInception V1: {len(both)} layers, the worst ({worst[1]}) differs by {worst[0]:.1e}")


OPERATORS = """Conv BatchNormalization Relu LeakyRelu Clip Sigmoid HardSwish HardSigmoid MaxPool AveragePool
GlobalAveragePool LRN Gemm MatMul Add Mul Sub Concat Flatten Reshape Squeeze Unsqueeze Transpose Pad Slice ReduceMean
Dropout Softmax Identity Constant Resize Div Sum Split Gather Elu Erf Gelu Tanh Softplus Pow Sqrt Reciprocal Expand Tile
ReduceSum ReduceMax ReduceMin ReduceL1 ReduceL2 ReduceSumSquare Einsum InstanceNormalization LayerNormalization
GroupNormalization RMSNormalization ConvTranspose PRelu Mish Abs Neg Exp Log Max Min DepthToSpace SpaceToDepth QuantizeLinear
DequantizeLinear""".split()


def part_node():
    from onnx.backend.test.case.node import collect_testcases

    counts, failures = {}, []
    for case in collect_testcases(None):
        model = case.model
        if len(model.graph.node) != 1 or model.graph.node[0].op_type not in OPERATORS:
            continue
        operator = model.graph.node[0].op_type
        row = counts.setdefault(operator, [0, 0, 0, 0])
        row[0] += 1
        given, results = case.data_sets[0]
        if not all(isinstance(v, (np.ndarray, np.generic)) for v in [*given, results[0]]):
            row[3] += 1
            continue
        inputs, expected = [np.asarray(v) for v in given], np.asarray(results[0])
        if not inputs or inputs[0].dtype != np.float32 or expected.dtype != np.float32 or inputs[0].ndim > 4:
            # What is no image of a CNN: numbers of other types, five dimensions, no input.
            row[3] += 1
            continue
        values = list(model.graph.input)
        if (
            operator in ("Add", "Sub", "Mul", "Max", "Min", "Concat")
            and inputs[0].ndim > 1
            and len({v.shape for v in inputs}) == 1
        ):
            # Several images' worth of channels come as one input that is split.
            parts = [v.name for v in values]
            split = helper.make_node("Split", ["all"], parts, name="split", axis=1)
            if model.opset_import[0].version >= 18:
                split.attribute.append(helper.make_attribute("num_outputs", len(parts)))
            model.graph.node.insert(0, split)
            inputs = [np.concatenate(inputs, 1)]
            model.graph.input[0].CopyFrom(
                helper.make_tensor_value_info("all", onnx.TensorProto.FLOAT, inputs[0].shape)
            )
        for value, array in list(zip(values, inputs))[1:]:
            model.graph.initializer.append(numpy_helper.from_array(array, value.name))
        del model.graph.input[1:]
        path = os.path.join(options.work, "node.onnx")
        onnx.save(model, path)
        shape = inputs[0].shape + (1,) * (4 - inputs[0].ndim)
        if 0 in shape:
            row[3] += 1
            continue
        ours, output, error = activations(path, inputs[0].reshape(shape))
        if error:
            row[2] += 1
            failures.append((case.name, error.split("cannot compute: ")[-1]))
        elif operator == "Transpose":
            # It leaves no layer whose values could be compared.
            row[3] += 1
        elif (d := difference(ours[output], expected)) is not None and d <= TOLERANCE:
            row[1] += 1
        else:
            failures.append((case.name, f"WRONG {ours[output].shape} {expected.shape}"))
    print("\n| operator | tests | pass | refused | not comparable |\n|---|---|---|---|---|")
    for operator, row in sorted(counts.items()):
        print(f"| {operator} | {row[0]} | {row[1]} | {row[2]} | {row[3]} |")
    total = [sum(row[k] for row in counts.values()) for k in range(4)]
    print(f"| all | {total[0]} | {total[1]} | {total[2]} | {total[3]} |\n")
    for name, error in failures:
        print(f"    {name}: {error}", file=sys.stderr)


def part_fooled():
    print("\n| network | checker | images | logits differ by |\n|---|---|---|---|")
    caffe = np.stack([p[:, :, ::-1] - np.float32([104, 117, 123]) for p in photographs(20)]).transpose(0, 3, 1, 2)
    for path in sorted(glob.glob(os.path.join(options.fooled, "*.onnx"))):
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        run = session(model)
        theirs = run.run(None, {run.get_inputs()[0].name: caffe.copy()})[0]
        ours, output, error = activations(path[: -len("onnx")] + "safetensors", caffe)
        d = error or f"{difference(ours[output].reshape(theirs.shape), theirs):.1e}"
        print(f"| {os.path.basename(path)} | passes | {len(caffe)} | {d} |", flush=True)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("parts", nargs="*", default=["data", "light", "torchvision", "node"])
parser.add_argument("--data", default=os.environ.get("TROMPE_DATA", "data"))
parser.add_argument("--trompe", default="target/debug/trompe")
parser.add_argument("--work", default=None)
parser.add_argument("--fooled", default=".")
parser.add_argument("--only", nargs="+", help="of torchvision and timm, these alone")
options = parser.parse_args()
options.work = options.work or tempfile.mkdtemp()
for part in options.parts:
    globals()["part_" + part]()
