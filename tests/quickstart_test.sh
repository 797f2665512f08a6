#!/bin/bash
# tools/quickstart as users run it, but with programs that Bazel has built already and a small load.
set -euo pipefail

export ACRE_BIN_DIR=$PWD TMPDIR=$TEST_TMPDIR
failures=0

# expect WHAT TEXT PATTERN
expect() {
  grep -qE -- "$3" <<<"$2" && return
  printf 'FAILED: %s: no line matches %s in:\n%s\n' "$1" "$3" "$2"
  failures=$((failures + 1))
}

expect_code() {
  [[ $2 == "$3" ]] && return
  printf 'FAILED: %s: exit code %s, not %s\n' "$1" "$2" "$3"
  failures=$((failures + 1))
}

expect_nothing_left() {
  local left
  left=$(compgen -G "$TEST_TMPDIR/acre-quickstart.*") || true
  [[ -z $left ]] || expect "$1" "left behind: $left" '^$'
  if client/kv_cli --servers="$2" stats >/dev/null 2>&1; then
    expect "$1" "a server still runs at $2" '^$'
  fi
}

address_in() {
  sed -nE 's/.*listening on ([^ ]+).*/\1/p' <<<"$1"
}

code=0
output=$(tools/quickstart --records=20000 --seconds=1 2>&1) || code=$?
expect_code "a whole run" "$code" 0
for path in mapped one_sided rpc tcp; do
  expect "a whole run" "$output" "^(C, all reads|A, 50 %).* $path +|^ +$path +(shm|socket) +[0-9,]+ "
done
expect "a whole run" "$output" '^C, all reads +mapped +shm +[0-9,]+ +[0-9.]+ +[0-9.]+ +[0-9.]+$'
expect "a whole run" "$output" '^ +tcp +socket +[0-9,]+ +[0-9.]+ +[0-9.]+ +1\.0$'
expect_nothing_left "a whole run" "$(address_in "$output")"

# SIGTERM as soon as the server runs.
coproc tools/quickstart --records=20000 --seconds=60 2>&1
pid=$COPROC_PID
output=
while read -r -u "${COPROC[0]}" line; do
  output+=$line$'\n'
  if [[ $line == *listening* ]]; then
    kill -TERM "$pid"
    break
  fi
done
code=0
wait "$pid" || code=$?
expect_code "a run that was ended" "$code" 143
expect_nothing_left "a run that was ended" "$(address_in "$output")"

# A step that fails tells why, and the server is stopped.
mkdir -p "$TEST_TMPDIR/broken/server" "$TEST_TMPDIR/broken/client" "$TEST_TMPDIR/broken/bench"
cp server/kv_server "$TEST_TMPDIR/broken/server"
cp client/kv_cli "$TEST_TMPDIR/broken/client"
printf '#!/bin/sh\necho "out of luck" >&2\nexit 7\n' >"$TEST_TMPDIR/broken/bench/ycsb"
chmod +x "$TEST_TMPDIR/broken/bench/ycsb"
code=0
output=$(ACRE_BIN_DIR=$TEST_TMPDIR/broken tools/quickstart --records=1 2>&1) || code=$?
expect_code "a failing step" "$code" 1
expect "a failing step" "$output" 'failed, exit code 7'
expect "a failing step" "$output" '^out of luck$'
expect_nothing_left "a failing step" "$(address_in "$output")"

code=0
output=$(tools/quickstart --records=many 2>&1) || code=$?
expect_code "a wrong flag" "$code" 2
expect "a wrong flag" "$output" 'records=many'
code=0
output=$(tools/quickstart --help 2>&1) || code=$?
expect_code "help" "$code" 0
expect "help" "$output" '^usage: '

((failures == 0)) || exit 1
