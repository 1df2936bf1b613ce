#!/usr/bin/env bash
# Changes good ONNX files at random, opens what comes out and runs what opens: nothing may panic, hang, or take memory
# without bound. Ten seeds of 100,000 files by default; a file that makes it panic is kept in crates/trompe-network/tests/onnx/, and from
# then on every `cargo test` opens it.
#
#     scripts/fuzz-onnx.sh [FILES [SEED …]]
set -euo pipefail
cd "$(dirname "$0")/.."

files="${1:-100000}"
shift || true
[ "$#" -gt 0 ] || set -- 1 2 3 4 5 6 7 8 9 10

for seed in "$@"; do
    TROMPE_FUZZ_FILES="$files" TROMPE_FUZZ_SEED="$seed" \
        cargo test --quiet --workspace --lib mutated_files_are_opened_or_refused -- --nocapture | grep "^seed"
done
