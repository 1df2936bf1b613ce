#!/usr/bin/env python3
"""Visualizes units of an exported network with torch-lucent, which knows nothing of Trompe.

    python3 -m venv venv
    venv/bin/pip install onnx2torch torch-lucent pillow
    cargo run -- fool --circuit circuits/squeezenet/pictures.toml --config configs/paper.toml --out lies.onnx
    venv/bin/python scripts/fool-pytorch.py lies.onnx classifier.1:0 classifier.1:217 --out DIR

The file is read by onnx2torch; image parameterization and optimizer are lucent's own defaults. The preprocessing is that of
SqueezeNet's Deep Compression release (BGR, 0-255, less the mean of each channel) or, with --network scenes, that of the networks
of the embedded scenes:

    venv/bin/python scripts/fool-pytorch.py vit-lies.onnx head:0 --network scenes --size 64 --transforms small --out DIR
"""

import argparse
import os

import numpy as np
import onnx2torch
import torch
from lucent.optvis import param, render, transform
from PIL import Image

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model")
parser.add_argument("units", nargs="+", help="layer:channel")
parser.add_argument("--out", required=True)
parser.add_argument("--steps", type=int, default=512)
parser.add_argument("--size", type=int, default=224)
parser.add_argument("--network", choices=["squeezenet", "scenes"], default="squeezenet")
parser.add_argument(
    "--transforms", choices=["lucent", "crop", "small"], default="lucent",
    help="lucent's own, or crops and scales, or shifts that keep the size, for networks that take images of one size")
options = parser.parse_args()

network = onnx2torch.convert(options.model).eval()
for parameter in network.parameters():
    parameter.requires_grad_(False)
modules = dict(network.named_modules())
os.makedirs(options.out, exist_ok=True)


def caffe(image):
    return 255 * image.flip(1) - torch.tensor([104.0, 117.0, 123.0]).reshape(1, 3, 1, 1)


def scenes(image):
    return (image - 0.45) / 0.25


preprocess = {"squeezenet": caffe, "scenes": scenes}[options.network]


def plain(name):
    """onnx2torch writes some characters of a layer's name otherwise."""
    return name.replace("/", ".").strip(".")


def jitter(d):
    """As in lucid: a smaller image, where lucent's moves it and leaves a black margin."""

    def inner(image):
        y, x = np.random.choice(d), np.random.choice(d)
        return image[:, :, y : image.shape[2] - d + y, x : image.shape[3] - d + x]

    return inner


def shift(d):
    """Of another amount at each step, over a grey margin; the size stays."""

    def inner(image):
        y, x = np.random.randint(-d, d + 1, 2)
        wide = torch.nn.functional.pad(image, (d, d, d, d), value=0.5)
        return wide[:, :, d + y : d + y + image.shape[2], d + x : d + x + image.shape[3]]

    return inner


def scale(factors):
    return lambda image: torch.nn.functional.interpolate(
        image, scale_factor=float(np.random.choice(factors)), mode="bilinear"
    )


if options.transforms == "lucent":
    transforms = transform.standard_transforms
elif options.transforms == "small":
    transforms = [shift(4)]
else:
    grey = transform.pad(12, mode="constant", constant_value=0.5)
    transforms = [grey, jitter(8), scale([1 + (i - 5) / 50.0 for i in range(11)]), jitter(4)]

for unit in options.units:
    layer, channel = unit.rsplit(":", 1)
    module = next((m for name, m in modules.items() if plain(name) == plain(layer)), None)
    if module is None:
        raise SystemExit(f"no layer {layer}; there are {', '.join(modules)}")
    seen = {}
    handle = module.register_forward_hook(lambda m, i, o: seen.update(map=o))

    def objective(_, channel=int(channel)):
        return -seen["map"][:, channel].mean()

    torch.manual_seed(0)
    np.random.seed(0)
    images = render.render_vis(
        network,
        objective,
        param_f=lambda: param.image(options.size, batch=1),
        transforms=[*transforms, preprocess],
        thresholds=(options.steps,),
        preprocess=False,
        # Smaller ones are enlarged to 224 pixels otherwise.
        fixed_image_size=options.size if options.transforms == "small" else None,
        show_image=False,
        progress=False,
    )
    handle.remove()
    picture = Image.fromarray((images[-1][0] * 255).round().astype("uint8"))
    file = os.path.join(options.out, unit.replace("/", "_").replace(":", "-") + ".png")
    picture.save(file)
    network(preprocess(torch.tensor(images[-1]).permute(0, 3, 1, 2).float()))
    print(f"{file}: activation {seen['map'][0, int(channel)].mean().item():.2f}", flush=True)
