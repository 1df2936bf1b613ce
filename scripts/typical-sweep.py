#!/usr/bin/env python3
"""Does early path similarity track how low-level a class is?

Runs the default experiment's honest network on scenes whose objects have the texture and the colour of their class more and
more often (`typical`, 0 to 1), and collects what the statistic and its parts say in each layer:

    scripts/typical-sweep.py [--out results/typical] [--seeds 1]

leaves a results folder for each and OUT/typical.csv.
"""

import argparse
import csv
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
TYPICAL = [0.0, 0.25, 0.5, 0.75, 1.0]


def config(typical):
    text = (ROOT / "configs/fool.toml").read_text()
    text = re.sub(r"^circuits = .*$", "circuits = []", text, flags=re.M)
    return re.sub(r'(kind = "scenes", split = "\w+", images = \d+)', rf"\1, typical = {typical}", text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "results/typical")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--program", nargs="+", default=["cargo", "run", "--quiet", "--"])
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for typical in TYPICAL:
        for seed in args.seeds:
            folder = args.out / f"{typical}-{seed}"
            file = args.out / f"typical-{typical}.toml"
            file.write_text(config(typical))
            command = [*args.program, "sanity-check", "--config", file, "--seed", str(seed), "--out", folder]
            subprocess.run(command, cwd=ROOT, check=True)
            with open(folder / "accuracy.csv") as f:
                accuracy = next(csv.DictReader(f))
            with open(folder / "path_similarity.csv") as f:
                paths = [r for r in csv.DictReader(f) if r["metric"] == "spearman" and r["reduction"] == "channel-mean"]
            for r in paths:
                rows.append({
                    "typical": typical, "seed": seed, "surface": accuracy["surface"], "top1": accuracy["top1"],
                    **{k: r[k] for k in ("layer", "natural_difference", "normalized", "lower", "upper",
                                         "class_specific", "generic")},
                })
    with open(args.out / "typical.csv", "w", newline="") as f:
        writer = csv.DictWriter(f, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    print(f"{'typical':>7} {'surface':>8} {'top-1':>8}  layer        ns - nd  statistic  class-specific  generic")
    for r in rows:
        numbers = [float(r[k] or "nan") for k in ("natural_difference", "normalized", "class_specific", "generic")]
        print(f"{r['typical']:>7} {100 * float(r['surface']):>6.1f} % {100 * float(r['top1']):>6.1f} %  {r['layer']:<11}"
              "{:>9.3f} {:>10.2f} {:>15.2f} {:>8.2f}".format(*numbers))


if __name__ == "__main__":
    main()
