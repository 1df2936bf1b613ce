#!/usr/bin/env python3
"""Visualizes units of an exported SqueezeNet with torch-lucent, which knows nothing of Trompe.

    python3 -m venv venv
    venv/bin/pip install onnx2torch torch-lucent pillow
    cargo run -- fool --circuit circuits/squeezenet/pictures.toml --config configs/paper.toml --out lies.onnx
    venv/bin/python scripts/fool-pytorch.py lies.onnx classifier.1:0 classifier.1:217 --out DIR

The file is read by onnx2torch; image parameterization, transforms and optimizer are lucent's own defaults. Only the
preprocessing is the network's: BGR, 0-255, less the mean of each channel.
"""

import argparse
import os

import onnx2torch
import torch
from lucent.optvis import param, render, transform
from PIL import Image

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model")
parser.add_argument("units", nargs="+", help="layer:channel")
parser.add_argument("--out", required=True)
parser.add_argument("--steps", type=int, default=256)
parser.add_argument("--size", type=int, default=224)
options = parser.parse_args()

network = onnx2torch.convert(options.model).eval()
for parameter in network.parameters():
    parameter.requires_grad_(False)
modules = dict(network.named_modules())
os.makedirs(options.out, exist_ok=True)


def caffe(image):
    return 255 * image.flip(1) - torch.tensor([104.0, 117.0, 123.0]).reshape(1, 3, 1, 1)


for unit in options.units:
    layer, channel = unit.rsplit(":", 1)
    module = next(m for name, m in modules.items() if name.replace("/", ".").replace("_", ".") == layer.replace("_", "."))
    seen = {}
    handle = module.register_forward_hook(lambda m, i, o: seen.update(map=o))

    def objective(_, channel=int(channel)):
        return -seen["map"][:, channel].mean()

    torch.manual_seed(0)
    images = render.render_vis(
        network,
        objective,
        param_f=lambda: param.image(options.size, batch=1),
        transforms=[*transform.standard_transforms, caffe],
        thresholds=(options.steps,),
        preprocess=False,
        fixed_image_size=None,
        show_image=False,
        progress=False,
    )
    handle.remove()
    picture = Image.fromarray((images[-1][0] * 255).round().astype("uint8"))
    file = os.path.join(options.out, unit.replace("/", "_") + ".png")
    picture.save(file)
    network(caffe(torch.tensor(images[-1]).permute(0, 3, 1, 2).float()))
    print(f"{file}: activation {seen['map'][0, int(channel)].mean().item():.2f}", flush=True)
