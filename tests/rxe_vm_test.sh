#!/bin/bash
# How a machine of tools/rxe-vm ends when somebody else ends it: nothing of it goes on.
set -euo pipefail

vm=tools/rxe-vm
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkfifo "$tmp/out"

fail() {
  echo "rxe_vm_test: $*" >&2
  sed 's/^/  its stderr: /' "$tmp/err" >&2
  exit 1
}

# boot: starts a machine whose command does not end by itself; `pid` is that of rxe-vm, `qemu` of QEMU.
boot() {
  "$vm" --cpus 1 --mem 512 --timeout 120 --pidfile "$tmp/pid" -- \
    sh -c 'echo up; exec tail -f /dev/null' >"$tmp/out" 2>"$tmp/err" &
  pid=$!
  local line=''
  read -r line <"$tmp/out" || true
  [[ $line == up ]] || fail "the machine did not come up: \"$line\""
  qemu=$(<"$tmp/pid")
  kill -0 "$qemu" || fail "no process $qemu, which --pidfile names"
}

# ends_with CODE: rxe-vm ends with it, and QEMU has ended by then.
ends_with() {
  local code=0
  wait "$pid" || code=$?
  ((code == $1)) || fail "exit code $code, not $1"
  ! kill -0 "$qemu" 2>/dev/null || fail "QEMU runs on as process $qemu"
}

# A machine that was told to end, as by a test runner that has lost its patience.
boot
kill -TERM "$pid"
ends_with 143

# A machine that loses its power. It has not timed out, and it does not say so.
boot
kill -KILL "$qemu"
ends_with 125
! grep -q "timed out" "$tmp/err" || fail "it says that it timed out"

echo "rxe_vm_test: ok"
