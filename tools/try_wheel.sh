#!/usr/bin/env bash
# Run the quick demo of an installed AVRT in a new folder, and publish what it made, to folders only.
# The argument is its command `avrt`.
set -euo pipefail
avrt="$1"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
unset PYTHONPATH
export OMP_NUM_THREADS=1 # models of the world are too small to gain from more
"$avrt" demo --quick
"$avrt" config copy demo demo.yaml
run="run.name=demo-quick data.root=runs/world-quick"
for name in bench audio train; do
    run="$run eval.benchmarks.world-$name.root=runs/world-quick"
done
for kind in dataset model report; do
    # shellcheck disable=SC2086 # several words
    "$avrt" publish "$kind" demo.yaml $run
done
