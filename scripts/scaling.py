#!/usr/bin/env python3
"""How the cost of visualizations grows: pictures a minute against their number, their size and the cores.

    cargo build
    python3 -m venv venv && venv/bin/pip install matplotlib
    venv/bin/python scripts/scaling.py --data DIR [--steps 32] [--out docs/images/scaling.png]

Pictures are of SqueezeNet's output units; a minute's worth is given for pictures of 512 steps. DIR holds
squeezenet1_0-imagenet/model.safetensors. Start-up (weights, files) is part of what is measured. Linux only (taskset, wait4).
"""

import argparse
import os
import tempfile
import time

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def measure(options, number, size, cores):
    """Pictures a minute and peak memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        with open("configs/squeezenet.toml") as file:
            text = file.read().replace("\nsize = 224\n", f"\nsize = {size}\n")
        config = os.path.join(folder, "config.toml")
        with open(config, "w") as file:
            file.write(text)
        command = [
            "taskset", "-c", ",".join(map(str, range(cores))), options.trompe, "visualize", "classifier.1:0",
            "--config", config, "--number", str(number), "--steps", str(options.steps), "--data", options.data,
            "--cache", os.path.join(folder, "cache"), "--out", os.path.join(folder, "out"),
        ]
        start = time.perf_counter()
        with open(os.devnull, "w") as null:
            child = os.posix_spawnp(command[0], command, os.environ, file_actions=[
                (os.POSIX_SPAWN_DUP2, null.fileno(), 1), (os.POSIX_SPAWN_DUP2, null.fileno(), 2),
            ])
            _, status, usage = os.wait4(child, 0)
        assert status == 0, command
        seconds = time.perf_counter() - start
    return number / seconds * 60 * options.steps / 512, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--trompe", default="target/debug/trompe")
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--out", default="docs/images/scaling.png")
    options = parser.parse_args()
    cores = os.cpu_count()
    available = sorted({1, cores})
    lines = {
        "number of pictures (224 px)": [(n, 224, cores, n) for n in (1, 2, 4, 8, 16)],
        "side in pixels (8 pictures)": [(8, s, cores, s) for s in (64, 96, 128, 160, 224, 288)],
        "cores (8 pictures, 224 px)": [(8, 224, c, c) for c in available],
    }
    figure, axes = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
    for axis, (name, points) in zip(axes, lines.items()):
        print(f"| {name} | pictures of 512 steps a minute | peak memory |\n|---|---|---|")
        rates = []
        for number, size, used, x in points:
            rate, memory = measure(options, number, size, used)
            rates.append(rate)
            print(f"| {x} | {rate:.2f} | {memory:.0f} MB |", flush=True)
        print()
        xs = [x for *_, x in points]
        axis.plot(xs, rates, "o-", color="#0072b2")
        axis.set_xlabel(name)
        axis.set_xticks(xs)
        axis.set_ylim(0)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("pictures a minute")
    figure.savefig(options.out, dpi=150)


if __name__ == "__main__":
    main()
