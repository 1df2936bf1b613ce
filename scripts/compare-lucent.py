#!/usr/bin/env python3
"""Sets Trompe's speed beside lucent's (and PyTorch's) on the same machine in the same minutes.

    cargo build
    python3 scripts/compare-lucent.py --data DIR [--pairs 5] [--steps 64] [--trompe FILE] [--venv DIR] [case …]
    python3 scripts/compare-lucent.py --network resnet50 deit_tiny_patch16_224 … (or `all`) [--pictures 16]

DIR holds squeezenet1_0-imagenet/model.safetensors and imagenette/. The packages it needs (torch, torch-lucent,
torchvision, safetensors) are installed from PyPI in a throw-away environment, or in --venv, which is kept.

Both sides run in turns, `--pairs` times; the medians and their ratio are printed. Cases: units `output`, `middle`, `third`
(the third Fire module) and `early`, each as `-1` (one picture) and `-16` (16 pictures); `activations` (500 photographs at 15
layers), `memory` (peak resident size of either side's process for one picture, for 16, and for activations of 500 and of
2,000 images at those layers); default: all. Trompe's time is that of the whole command: start, weights, optimization, files; lucent's that of
`render_vis` alone, in a process that has everything loaded. Size 224, Adam 0.05, Fourier, decorrelated colours, the
standard transforms of each: lucid's schedule, in which Trompe crops where lucent shifts, so that lucent's images are
about 250 pixels wide where Trompe's are about 236. `lucent, cropping` is lucent with transforms that crop as
Trompe's do.

With --network: networks of torchvision and timm with random weights, exported to ONNX, at a layer in the middle and at the
output. Seconds for one of 24 steps of one image: of Trompe's whole command (its start with it), and of lucent's loop alone with
its standard transforms (and a resize to 224 pixels for transformers, which take no other size), with PyTorch's usual
memory format and with `channels_last`. The ratio is to the faster of the two.
"""

import argparse
import csv
import glob
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv

PACKAGES = ["torch", "torch-lucent", "torchvision", "timm", "onnx", "safetensors", "pillow", "numpy"]
UNITS = {
    "output": ("classifier.1:0", "classifier_1"),
    "middle": ("features.9:0", "features_9"),
    "third": ("features.5:0", "features_5"),
    "early": ("features.3:0", "features_3"),
}
LAYERS = [f"features.{i}" for i in range(13)] + ["classifier.1", "classifier.3"]
# A module in the middle and the output's, as PyTorch calls them.
NETWORKS = {
    "squeezenet1_0": ("features.9", "classifier.1"),
    "googlenet": ("inception4c", "fc"),
    "resnet18": ("layer3", "fc"),
    "resnet50": ("layer3", "fc"),
    "densenet121": ("features.transition2", "classifier"),
    "convnext_tiny": ("features.5.2", "classifier.2"),
    "mobilenet_v2": ("features.13", "classifier.1"),
    "vgg16": ("features.22", "classifier.6"),
    "efficientnet_b0": ("features.5.2", "classifier.1"),
    "deit_tiny_patch16_224": ("blocks.6.mlp.fc1", "head"),
    "swin_tiny_patch4_window7_224": ("layers.2.blocks.2.mlp.fc1", "head.fc"),
}
CASES = [f"{unit}-{n}" for unit in UNITS for n in (1, 16)] + ["activations", "memory"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="case", help=" ".join(CASES))
    parser.add_argument("--data")
    parser.add_argument("--network", nargs="+", metavar="NAME", help=" ".join(NETWORKS))
    parser.add_argument("--pictures", type=int, default=1, help="with --network: how many at once")
    parser.add_argument("--trompe", default="target/debug/trompe")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=64, help="for one picture; a quarter for each of 16")
    parser.add_argument("--venv", help="an environment to use and keep")
    parser.add_argument("--csv", help="where to write the measurements")
    # What a process of its own does, to measure how much memory it takes: pictures=N or activations=N.
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = set(options.cases) - set(CASES)
    if unknown:
        parser.error(f"no case {', '.join(sorted(unknown))}: there are {', '.join(CASES)}")
    if options.network == ["all"]:
        options.network = list(NETWORKS)
    unknown = set(options.network or []) - set(NETWORKS)
    if unknown:
        parser.error(f"no network {', '.join(sorted(unknown))}: there are {', '.join(NETWORKS)}")
    if not options.network and not options.data:
        parser.error("--data is needed")
    for name in () if options.network else ("squeezenet1_0-imagenet/model.safetensors", "imagenette"):
        if not os.path.exists(os.path.join(options.data, name)):
            parser.error(f"{options.data} has no {name}")
    if not os.path.exists(options.trompe):
        parser.error(f"no {options.trompe}: run `cargo build`, or name the program with --trompe")
    return options


def inside_environment(options):
    """Runs this script again in an environment that has the packages."""
    def run(folder):
        python = os.path.join(folder, "bin", "python")
        if not os.path.exists(python):
            print(f"installing {', '.join(PACKAGES)}", file=sys.stderr)
            venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
        return subprocess.run([python, *sys.argv], env={**os.environ, "TROMPE_COMPARE": "1"}).returncode

    if options.venv:
        return run(options.venv)
    with tempfile.TemporaryDirectory() as folder:
        return run(folder)


class Lucent:
    """lucent on PyTorch."""

    def __init__(self, options):
        import torch
        import torchvision
        from safetensors.torch import load_file

        self.torch, self.options = torch, options
        model = torchvision.models.squeezenet1_0(weights=None)
        model.load_state_dict(load_file(os.path.join(options.data, "squeezenet1_0-imagenet/model.safetensors")))
        self.model = model.eval()
        for p in self.model.parameters():
            p.requires_grad_(False)

    def cropping(self):
        """lucid's schedule with crops instead of shifts, as Trompe's."""
        import numpy as np
        from lucent.optvis import transform as T
        F = self.torch.nn.functional

        def crop(d):
            def inner(x):
                y, z = np.random.randint(d + 1, size=2)
                return x[:, :, y:x.shape[2] - d + y, z:x.shape[3] - d + z]
            return inner

        def scale(x):
            factor = 1 + (np.random.randint(11) - 5) / 50
            size = [round(s * factor) for s in x.shape[2:]]
            return F.interpolate(x, size=size, mode="bilinear", align_corners=False)

        return [T.pad(12, mode="constant", constant_value=0.5), crop(8), scale,
                T.random_rotate(list(range(-10, 11)) + 5 * [0]), crop(4)]

    def visualize(self, layer, channel, n, steps, crops):
        """Pictures [N, 3, H, W] and the seconds they took."""
        from lucent.optvis import objectives, param, render, transform

        transforms = self.cropping() if crops else list(transform.standard_transforms)
        start = time.perf_counter()
        pictures = render.render_vis(
            self.model,
            objectives.channel(layer, channel),
            lambda: param.image(224, batch=n),
            transforms=[*transforms, self.prepare],
            preprocess=False,
            thresholds=(steps,),
            progress=False,
            show_image=False,
        )[-1]
        seconds = time.perf_counter() - start
        return self.torch.tensor(pictures).permute(0, 3, 1, 2).float(), seconds

    def prepare(self, pictures):
        """What the network takes, of pictures in 0..1: blue first, 0 to 255, less each channel's mean."""
        return pictures.flip(1) * 255 - self.torch.tensor([104.0, 117.0, 123.0]).view(1, 3, 1, 1)

    def capture(self, images, layers):
        """Spatial means of layers for images as the network takes them."""
        modules, means = dict(self.model.named_modules()), {}
        hooks = [
            modules[name].register_forward_hook(
                lambda _m, _i, out, name=name: means.__setitem__(name, out.mean(dim=(2, 3)))
            )
            for name in layers
        ]
        with self.torch.no_grad():
            logits = self.model(images)
        for hook in hooks:
            hook.remove()
        return logits, means

    def activation(self, unit, pictures):
        layer, channel = unit.rsplit(":", 1)
        _, means = self.capture(self.prepare(pictures), [layer])
        return means[layer][:, int(channel)].mean().item()


class Trompe:
    """The `trompe` command."""

    def __init__(self, options, work):
        self.options, self.work = options, work
        self.network = os.path.join(work, "network.safetensors")
        self.run("train", "--config", "configs/squeezenet.toml", "--out", self.network)

    def run(self, *arguments):
        start = time.perf_counter()
        outcome = subprocess.run(
            [self.options.trompe, *arguments],
            env={**os.environ, "TROMPE_DATA": self.options.data},
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - start
        if outcome.returncode:
            sys.exit(outcome.stderr)
        return seconds

    def visualize(self, unit, n, steps):
        import numpy as np
        import torch
        from PIL import Image

        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            seconds = self.run(
                "visualize", unit, "--config", "configs/squeezenet.toml", "--number", str(n),
                "--steps", str(steps), "--cache", os.path.join(folder, "cache"), "--out", folder,
            )
            files = sorted(glob.glob(os.path.join(folder, "*.png")))
            assert len(files) == n, files
            pictures = np.stack([np.asarray(Image.open(f).convert("RGB"), np.float32) / 255 for f in files])
        return torch.tensor(pictures).permute(0, 3, 1, 2), seconds

    def logits(self, images):
        from safetensors.torch import load_file, save_file

        source, out = (os.path.join(self.work, f"{name}.safetensors") for name in ("input", "output"))
        save_file({"images": images.contiguous()}, source)
        self.run("activations", self.network, source, "--layer", "classifier.3", "--out", out)
        return load_file(out)["classifier.3"].flatten(1)


def photographs(options, number):
    """Photographs [3, 224, 224], resized and cropped."""
    import numpy as np
    import torch
    from PIL import Image

    files = sorted(glob.glob(os.path.join(options.data, "imagenette", "**", "*.JPEG"), recursive=True))
    images = []
    for file in files[:: max(1, len(files) // number)][:number]:
        image = Image.open(file).convert("RGB")
        w, h = image.size
        image = image.resize((round(256 * w / min(w, h)), round(256 * h / min(w, h))), Image.BILINEAR)
        w, h = image.size
        image = image.crop(((w - 224) // 2, (h - 224) // 2, (w - 224) // 2 + 224, (h - 224) // 2 + 224))
        images.append(torch.tensor(np.asarray(image, np.float32) / 255).permute(2, 0, 1))
    return torch.stack(images)


def collect_lucent(lucent, images):
    """Seconds for the spatial means of all layers, in batches of 8."""
    start = time.perf_counter()
    for i in range(0, len(images), 8):
        lucent.capture(images[i:i + 8], LAYERS)
    return time.perf_counter() - start


def collect_trompe(trompe, source, layers):
    """Seconds for the same by the command, whole."""
    out = os.path.join(trompe.work, "means.safetensors")
    flags = [flag for layer in layers for flag in ("--layer", layer)]
    return trompe.run("activations", trompe.network, source, "--means", *flags, "--out", out)


def main():
    options = arguments()
    if "TROMPE_COMPARE" not in os.environ:
        sys.exit(inside_environment(options))
    if options.alone:
        alone(options)
        return
    if options.network:
        with tempfile.TemporaryDirectory() as work:
            networks(options, work)
        return
    with tempfile.TemporaryDirectory() as work:
        compare(options, work)


def networks(options, work):
    """The table of --network."""
    import warnings

    import timm
    import torch
    import torchvision

    warnings.filterwarnings("ignore")
    n = options.pictures
    print(f"PyTorch {torch.__version__} on {torch.get_num_threads()} threads; {n} picture(s); medians of {options.pairs} pairs")
    print(f"{'network':30} {'layer':26} {'trompe':>8} {'lucent':>8} {'channels_last':>13} {'ratio':>6}")
    rows = []
    for name in options.network:
        torch.manual_seed(0)
        of_timm = "patch" in name
        if of_timm:
            model = timm.create_model(name, pretrained=False)
        else:
            extra = {"init_weights": False} if name == "googlenet" else {}
            model = getattr(torchvision.models, name)(weights=None, **extra)
        model.eval()
        file = os.path.join(work, name + ".onnx")
        torch.onnx.export(model, torch.zeros(1, 3, 224, 224), file, dynamo=False)
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for module in NETWORKS[name]:
            seconds = {side: [] for side in ("trompe", "contiguous", "channels_last")}
            for _ in range(options.pairs):
                seconds["trompe"].append(step_of_trompe(options, work, file, module, n))
                for side in ("contiguous", "channels_last"):
                    seconds[side].append(step_of_lucent(model, module, n, side == "channels_last", of_timm))
            ours, plain, last = (statistics.median(seconds[side]) for side in seconds)
            rows += [[name, module, n, side, value] for side in seconds for value in seconds[side]]
            print(f"{name:30} {module:26} {ours:8.4f} {plain:8.4f} {last:13.4f} {min(plain, last) / ours:6.2f}", flush=True)
        os.remove(file)
    if options.csv:
        with open(options.csv, "w", newline="") as out:
            csv.writer(out).writerows([["network", "layer", "pictures", "side", "seconds"], *rows])


STEPS = 24


def step_of_trompe(options, work, file, module, n):
    """Seconds a step and image of a whole command."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        start = time.perf_counter()
        outcome = subprocess.run(
            [options.trompe, "visualize", file, f"{module}:0", "--preset", "imagenet", "--number", str(n), "--steps",
             str(STEPS), "--cache", os.path.join(folder, "cache"), "--out", folder],
            capture_output=True, text=True,
        )
        if outcome.returncode:
            sys.exit(outcome.stderr)
        return (time.perf_counter() - start) / (STEPS * n)


def step_of_lucent(model, module, n, channels_last, fixed_size):
    """Seconds a step and image of lucent's loop for unit 0 of a module."""
    import torch
    from lucent.optvis import param, transform

    layout = torch.channels_last if channels_last else torch.contiguous_format
    model.to(memory_format=layout)
    seen = {}
    hook = dict(model.named_modules())[module].register_forward_hook(lambda m, i, o: seen.update(value=o))
    parameters, image = param.image(224, batch=n)
    transforms = transform.compose(transform.standard_transforms)
    optimizer = torch.optim.Adam(parameters, lr=0.05)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))

    def step():
        optimizer.zero_grad()
        seen_by = transforms(image())
        if fixed_size:
            seen_by = torch.nn.functional.interpolate(seen_by, size=(224, 224), mode="bilinear", align_corners=False)
        model(((seen_by - mean) / std).contiguous(memory_format=layout))
        value = seen["value"]
        # A channel of a map, or a feature of tokens.
        unit = value[:, :, 0] if value.ndim == 3 else value[..., 0] if fixed_size and value.ndim == 4 else value[:, 0]
        (-unit.mean()).backward()
        optimizer.step()

    step()
    start = time.perf_counter()
    for _ in range(STEPS):
        step()
    hook.remove()
    return (time.perf_counter() - start) / (STEPS * n)


def alone(options):
    """What PyTorch's side does in a process of its own."""
    lucent = Lucent(options)
    what, value = options.alone.split("=", 1)
    if what == "pictures":
        lucent.visualize("classifier_1", 0, int(value), 4, False)
        return
    # Images of noise, made as they are needed.
    means = [lucent.capture(lucent.torch.randn(8, 3, 224, 224), LAYERS)[1] for _ in range(int(value) // 8)]
    assert len(means) == int(value) // 8


def peak(command, environment):
    """Peak resident size of a process in MB. (That of `wait4` counts this process's own, before the other's begins.)"""
    child, most = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL), 0
    while child.poll() is None:
        try:
            with open(f"/proc/{child.pid}/status") as status:
                most = max([most] + [int(line.split()[1]) for line in status if line.startswith("VmHWM:")])
        except ProcessLookupError:
            pass
        time.sleep(0.02)
    if child.returncode:
        sys.exit(f"failed: {' '.join(command)}")
    return most / 1024


def memory(options, trompe, rows):
    import torch
    from safetensors.torch import save_file

    def row(name, ours, alone):
        ours = peak([options.trompe, *ours], {**os.environ, "TROMPE_DATA": options.data})
        python = [sys.executable, sys.argv[0], "--data", options.data, "--trompe", options.trompe, "--alone", alone]
        theirs = peak(python, dict(os.environ))
        print(f"peak memory, {name}: trompe {ours:.0f} MB, PyTorch {theirs:.0f} MB", flush=True)
        rows.extend(["memory", side, name, megabytes, ""] for side, megabytes in (("trompe", ours), ("lucent", theirs)))

    for n in (1, 16):
        folder = os.path.join(trompe.work, f"memory-{n}")
        row(f"{n} pictures", [
            "visualize", "classifier.1:0", "--config", "configs/squeezenet.toml", "--number", str(n), "--steps", "4",
            "--cache", os.path.join(folder, "cache"), "--out", folder,
        ], f"pictures={n}")
    flags = [flag for layer in LAYERS for flag in ("--layer", layer)]
    for n in (500, 2000):
        source = os.path.join(trompe.work, f"noise-{n}.safetensors")
        save_file({"images": torch.randn(n, 3, 224, 224)}, source)
        out = os.path.join(trompe.work, "means.safetensors")
        row(f"{n} activations", ["activations", trompe.network, source, "--means", *flags, "--out", out], f"activations={n}")
        os.remove(source)


def compare(options, work):
    import torch

    lucent, trompe = Lucent(options), Trompe(options, work)
    print(f"PyTorch {torch.__version__} on {torch.get_num_threads()} threads; {options.pairs} pairs of {options.steps} steps")
    images = lucent.prepare(photographs(options, 8))
    theirs, _ = lucent.capture(images, [])
    difference = (theirs - trompe.logits(images)).abs().max().item()
    print(f"largest difference of a logit on 8 photographs: {difference:.1e}")
    assert difference < 1e-2, "not the same network"
    rows = []
    header = f"{'case':12} {'trompe':>9} {'lucent':>9} {'ratio':>6}   {'cropping':>9} {'ratio':>6}   activation: trompe, lucent, cropping"
    print(header)
    for case in options.cases or CASES:
        if case in ("activations", "memory"):
            continue
        name, n = case.rsplit("-", 1)
        (unit, layer), n = UNITS[name], int(n)
        steps = options.steps if n == 1 else max(1, options.steps // 4)
        seconds, reached = {s: [] for s in ("trompe", "lucent", "cropping")}, {}
        for _ in range(options.pairs):
            for side in seconds:
                if side == "trompe":
                    pictures, taken = trompe.visualize(unit, n, steps)
                else:
                    pictures, taken = lucent.visualize(layer, int(unit.rsplit(":", 1)[1]), n, steps, side == "cropping")
                seconds[side].append(taken / (n * steps))
                reached.setdefault(side, []).append(lucent.activation(unit, pictures))
                rows.append([case, side, len(seconds[side]), seconds[side][-1], reached[side][-1]])
        ours, plain, crops = (statistics.median(seconds[s]) for s in ("trompe", "lucent", "cropping"))
        scores = "  ".join(f"{statistics.median(reached[s]):9.2f}" for s in ("trompe", "lucent", "cropping"))
        print(f"{case:12} {ours:9.4f} {plain:9.4f} {plain / ours:6.2f}   {crops:9.4f} {crops / ours:6.2f}   {scores}", flush=True)
    if "activations" in (options.cases or CASES):
        collect(options, lucent, trompe, rows)
    if "memory" in (options.cases or CASES):
        memory(options, trompe, rows)
    if options.csv:
        with open(options.csv, "w", newline="") as file:
            csv.writer(file).writerows([["case", "side", "pair", "seconds", "activation"], *rows])


def collect(options, lucent, trompe, rows):
    from safetensors.torch import save_file

    images = lucent.prepare(photographs(options, 500))
    source = os.path.join(trompe.work, "photographs.safetensors")
    save_file({"images": images.contiguous()}, source)
    names = LAYERS
    pairs = []
    for i in range(options.pairs):
        pairs.append((collect_trompe(trompe, source, names), collect_lucent(lucent, images)))
        rows += [["activations", "trompe", i + 1, pairs[-1][0], ""], ["activations", "pytorch", i + 1, pairs[-1][1], ""]]
    ours, theirs = (statistics.median(side) for side in zip(*pairs))
    n = len(images)
    print(f"activations of {n} images at {len(names)} layers: trompe {n / ours:.1f}, PyTorch {n / theirs:.1f} images a second; ratio {theirs / ours:.2f}")


if __name__ == "__main__":
    main()
