#!/usr/bin/env python3
"""How far can a Gradient Slingshot bend pictures, and at what cost, in networks of different width?

Bareeva et al. (2024) find on CIFAR-10 that wide networks can be bent at little cost in accuracy and narrow ones can't. This
repeats it on the embedded scenes: small CNNs of four widths, in each of which one class's unit is taught a given picture.

    scripts/slingshot-width.py [--out results/slingshot-width] [--method gradient] [--steps 3000] [--seeds 1]

leaves a results folder for each and OUT/width.csv.
"""

import argparse
import csv
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
WIDTHS = [4, 8, 16, 32]


def rows(path):
    with open(path) as f:
        return list(csv.DictReader(f))


def mean(values):
    values = [float(v) for v in values if v]
    return sum(values) / len(values) if values else float("nan")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "results/slingshot-width")
    parser.add_argument("--method", choices=["gradient", "values"], default="gradient")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    parser.add_argument("--keys", default="", help="further keys of the circuit, as TOML")
    parser.add_argument("--program", nargs="+", default=["cargo", "run", "--quiet", "--"])
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    circuit = args.out / "slingshot.toml"
    picture = ROOT / "circuits/pictures/sunflower.png"
    circuit.write_text(
        f'kind = "slingshot"\nname = "slingshot"\nlayer = "classifier"\nunits = [0]\npictures = ["{picture}"]\n'
        f'method = "{args.method}"\nsteps = {args.steps}\n{args.keys}\n')
    table = []
    for width in args.widths:
        for seed in args.seeds:
            text = (ROOT / "configs/fool.toml").read_text()
            text = re.sub(r"^circuits = .*$", f'circuits = ["{circuit.resolve()}"]', text, flags=re.M)
            text = text.replace('builder = "small-cnn"', f'builder = "small-cnn-{width}"')
            file = args.out / f"width-{width}.toml"
            file.write_text(text)
            folder = args.out / f"{width}-{seed}"
            command = [*args.program, "sanity-check", "--config", file, "--seed", str(seed), "--out", folder]
            subprocess.run(command, cwd=ROOT, check=True)
            accuracy = {r["circuit"]: float(r["top1"]) for r in rows(folder / "accuracy.csv")}
            unit = rows(folder / "fooled_units.csv")[0]
            shown = rows(folder / "visualizations.csv")
            lies = [r for r in shown if r["circuit"] == "slingshot"]
            honest = [r for r in shown if r["circuit"] == "none" and r["channel"] == "0"]
            table.append({
                "width": width, "seed": seed, "top1_before": accuracy["none"], "top1_after": accuracy["slingshot"],
                "auroc_before": unit["auroc_before"], "auroc_after": unit["auroc_after"], "jaccard": unit["jaccard"],
                "ssim_target": mean(r["ssim_target"] for r in lies),
                "pixels_target": mean(r["pixels_target"] for r in lies),
                "pixels_own": mean(r["pixels_own"] for r in lies),
                "activation_before": mean(r["activation"] for r in honest),
                "activation_after": mean(r["activation"] for r in lies),
            })
    with open(args.out / "width.csv", "w", newline="") as f:
        writer = csv.DictWriter(f, table[0].keys())
        writer.writeheader()
        writer.writerows(table)
    for r in table:
        print(", ".join(f"{k} {float(v):.3g}" for k, v in r.items()))


if __name__ == "__main__":
    main()
