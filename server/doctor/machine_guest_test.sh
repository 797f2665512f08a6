#!/bin/sh
# kv_doctor on a machine with Soft-RoCE, run in the virtual machine that tools/rxe-vm boots: as root,
# then as a user who may lock 64 KiB.
set -u
PATH=$PWD/server:$PATH # where the test's other programs are

fail() {
  echo "FAILED: $1"
  cat /tmp/out
  exit 1
}
expect() { grep -qE "$1" /tmp/out || fail "no line $1"; }

kv_doctor --memory=64M --fabric=verbs,shm,tcp --json=/tmp/out.json >/tmp/out || fail "exit code $?"
grep -qE '^BAD' /tmp/out && fail "something is BAD"
expect '^note  rxe0  .*Soft-RoCE'
expect '^ok    rxe0:1 port  .*active, Ethernet \(RoCE\)'
expect '^ok    rxe0:1 MTU  .*4096 of 4096'
expect '^ok    rxe0:1 GIDs  .*::ffff:10\.9\.9\.1 \(RoCE v2\)'
expect '^ok    rxe0 atomics  .*atomic_cap hca'
expect '^ok    rdma_cm '
expect '^ok    address  .*10\.9\.9\.1 is on rxe0, 10\.9\.9\.2 is on rxe1'
expect '^ok    memlock  .*unlimited'
expect '^ok    data order '
expect '^ok    fence  .*ours'
expect '^ok    registration  .*MiB at once'
expect '^ok    --fabric  .*gives verbs and shm and tcp'
grep -q '"bad": 0' /tmp/out.json || fail "no JSON"

kv_doctor --memory=64M --fabric=verbs --device=rxe1 >/tmp/out || fail "exit code $?"
expect '^ok    verbs  .*rxe1 at 10\.9\.9\.2'
grep -q '^[a-zBAD]* *rxe0' /tmp/out && fail "it looks at another card"

kv_doctor --memory=64M --fabric=verbs --device=mlx5_7 >/tmp/out && fail "a card that is not there"
expect '^BAD   device  .*there is no mlx5_7, only rxe0, rxe1'

# Root may lock anything, whatever the limit.
# shellcheck disable=SC3045
ulimit -l 64 # busybox's shell has it
kv_doctor --memory=64M --fabric=verbs >/tmp/out || fail "exit code $?"
expect '^ok    memlock  .*64 KiB, lifted'
# util-linux's, by its path: the shell's own is another one.
/usr/bin/setpriv --reuid=1000 --regid=1000 --clear-groups \
  kv_doctor --memory=64M --fabric=verbs >/tmp/out
[ $? = 1 ] || fail "the limit is not BAD"
expect '^BAD   memlock  .*64 KiB'
expect 'mend:  .*/etc/security/limits\.d'
expect '^BAD   registration '

# The address taken from the card, and with it its GID.
/bin/ip address del 10.9.9.2/24 dev eth1
kv_doctor --memory=64M --fabric=verbs --device=rxe1 >/tmp/out && fail "a card without an address"
expect '^BAD   address '
expect 'mend:  ip address add [0-9./]* dev eth1'
echo "all as it should be"
