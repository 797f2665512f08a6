#!/bin/sh
# What compare_verbs.py runs on a machine with two RDMA cards, rounds times: the tools of perftest and ours in turn.
# Usage: compare_verbs.sh PROGRAMS CLIENT_DEVICE SERVER_DEVICE SERVER_ADDRESS ROUNDS SECONDS
# Prints "NAME p50_us NUMBER" lines, and the table of ycsb's last round. A shell without arrays: the guest's is busybox's.
set -eu
programs=$1 client=$2 server=$3 address=$4 rounds=$5 seconds=$6
store=127.0.0.1:7400
work=$(mktemp -d)
trap 'kill -9 $(cat "$work/server" "$work/peer") 2>/dev/null || true; rm -rf "$work"' EXIT

# Its start line is what says that it serves.
mkfifo "$work/started"
"$programs/server/kv_server" --listen=$store --fabric=shm,verbs,tcp --device="$server" --memory=64M \
  --huge_pages=off --state_dir="$work" --poll=busy >"$work/started" &
echo $! >"$work/server"
read -r line <"$work/started"
echo "$line" >&2
"$programs/bench/ycsb" --servers=$store --load --records=10000 >/dev/null 2>&1

# The store stands still while others are measured: one that polls takes a core.
freeze() { kill -STOP "$(cat "$work/server")"; }
thaw() { kill -CONT "$(cat "$work/server")"; }

# perftest NAME TOOL BYTES FACTOR: the median, of one way for WRITEs, which FACTOR makes a round trip.
perftest() {
  "$2" -d "$server" -x 1 -F -n 3000 -s "$3" >/dev/null 2>&1 &
  peer=$!
  echo $peer >"$work/peer"
  # The client fails till the other one listens.
  tries=0
  until "$2" -d "$client" -x 1 -F -n 3000 -s "$3" "$address" >"$work/out" 2>"$work/error"; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || { cat "$work/error" >&2; echo "$2 does not reach $address" >&2; exit 1; }
    sleep 0.1
  done
  wait $peer
  : >"$work/peer"
  awk -v name="$1" -v bytes="$3" -v factor="$4" \
    '$1 == bytes { print name, "p50_us", $5 * factor }' "$work/out"
}
# p50 FILE FIELD: of the line that begins with a word.
ours() {
  awk -v name="$1" -v first="$2" -v field="$3" '$1 == first && NF > field { print name, "p50_us", $field }' "$work/out"
}

round=1
while [ "$round" -le "$rounds" ]; do
  echo "round $round of $rounds" >&2
  freeze
  perftest ib_read_lat ib_read_lat 512 1
  perftest ib_write_lat ib_write_lat 128 2
  "$programs/bench/messages" --fabric=verbs --device="$client" --server_device="$server" --bytes=64 \
    --connections=1 --outstanding=1 --seconds="$seconds" --rounds=2 >"$work/out" 2>/dev/null
  ours ring 64 5
  awk '$1 == 64 && NF > 10 { print "tcp_call p50_us", $8 }' "$work/out"
  thaw
  "$programs/bench/ycsb" --servers=$store --records=10000 --workload=c --path=one_sided,rpc,tcp --connections=1 \
    --fabric=verbs --device="$client" --seconds="$seconds" --warmup=0 --poll=busy >"$work/out" 2>/dev/null
  ours one_sided one_sided 4
  ours rpc rpc 4
  ours tcp tcp 4
  round=$((round + 1))
done
grep -A3 '^path ' "$work/out" | sed 's/^/table /'
