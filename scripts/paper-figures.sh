#!/usr/bin/env bash
# Regenerates the figures of Geirhos et al. (2024) from SqueezeNet and photographs: runs configs/paper.toml, or the
# experiment file given, and gathers its figures under the paper's names.
#
#   scripts/paper-figures.sh [--full] [--data DIR] [--device NAME]
#
# --full takes configs/paper-full.toml, the paper's own size, for those with a GPU. The run can be interrupted and goes
# on from where it was. The figures are copied to results/NAME/paper/, with their captions in captions.md.
set -euo pipefail
cd "$(dirname "$0")/.."

config=configs/paper.toml
arguments=()
while [ $# -gt 0 ]; do
    case "$1" in
        --full) config=configs/paper-full.toml ;;
        --data | --device)
            [ $# -ge 2 ] || { echo "error: $1 needs a value" >&2; exit 2; }
            arguments+=("$1" "$2")
            shift
            ;;
        -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) echo "error: unknown option $1; there are --full, --data and --device" >&2; exit 2 ;;
    esac
    shift
done

cargo run -- sanity-check --config "$config" ${arguments[@]+"${arguments[@]}"}

results=results/$(sed -n 's/^name = "\(.*\)"/\1/p' "$config")
out=$results/paper
mkdir -p "$out"
: > "$out/captions.md"

# figure NAME FILE CAPTION: copies a figure of the run, if it has one.
figure() {
    local name=$1 file=$2 caption=$3
    if [ ! -f "$results/figures/$file.svg" ]; then
        echo "error: $results/figures/$file.svg is missing: has $config lost a circuit?" >&2
        exit 1
    fi
    cp "$results/figures/$file.svg" "$out/$name.svg"
    cp "$results/figures/$file.png" "$out/$name.png"
    printf '**%s** (`%s.svg`). %s\n\n' "$name" "$name" "$caption" >> "$out/captions.md"
}

units=features.12.expand3x3
figure original visualizations_permuted \
    "Feature visualizations of output units: the first two rows are the original network's, the last two those of the network in which every unit shows the unit 100 places on. Corresponds to the original and permuted visualizations of Geirhos et al. (2024), section 2.1."
figure arbitrary visualizations_pictures \
    "Output units that show given pictures, where the paper's show paintings. Corresponds to the arbitrary visualizations of section 2.1."
figure hidden visualizations_hidden \
    "The same in a hidden layer: channels of a convolution in the middle of the network show other channels."
figure trajectory trajectory_strip_permuted \
    "The image at logarithmic steps of the optimization. Corresponds to the strip of images between noise and the final visualization on which the paper's classifier is trained (section 2.1)."
figure silent visualizations_silent \
    "Silent units in the last Fire module ($units). Corresponds to the near-identical visualizations of section 2.2."
figure silence silence \
    "How far visualizations drive units beyond natural images: the gap in which silent units hide (section 2.2)."
figure similarity path_raw_channel-mean_spearman_0 \
    "Spearman similarity of activations by layer. Corresponds to the raw similarities behind the sanity check of section 3."
figure normalized path_normalized_channel-mean_spearman \
    "Normalized path similarity of output units' visualizations, honest and fooled. Corresponds to the sanity check of section 3."
figure depths path_depths_channel-mean_spearman \
    "The same for units of early, middle and late hidden layers. Corresponds to the paper's appendix on hidden units."

echo "figures and captions: $out; the table beside the paper's numbers is in $results/report.html"
