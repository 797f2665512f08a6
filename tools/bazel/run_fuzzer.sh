#!/bin/bash
# Runs a libFuzzer target for a short while: run_fuzzer.sh FUZZER [KEPT_INPUT...]. First every kept
# input, then what libFuzzer makes of them. What it finds on the way is not kept, so a run leaves the
# tree alone; an input that fails lands in Bazel's undeclared outputs.
set -euo pipefail

fuzzer=$1
shift
corpus=$TEST_TMPDIR/corpus
mkdir -p "$corpus"
for input in "$@"; do
  cp "$input" "$corpus/$(echo "$input" | tr / _)"
done
exec "./$fuzzer" -max_total_time=20 -rss_limit_mb=2048 -print_final_stats=1 \
  -artifact_prefix="$TEST_UNDECLARED_OUTPUTS_DIR/" "$corpus"
