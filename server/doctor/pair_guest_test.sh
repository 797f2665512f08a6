#!/bin/sh
# Two kv_doctors on one virtual machine with Soft-RoCE (tools/rxe-vm): the cards rxe0 and rxe1 play two
# machines' cards.
set -u
PATH=$PWD/server:$PATH # where the test's other programs are

fail() {
  echo "FAILED: $1"
  cat /tmp/out
  exit 1
}
expect() { grep -qE "$1" /tmp/out || fail "no line $1"; }

mkfifo /tmp/host
# serve FLAGS: starts the other side, and waits till it listens.
serve() {
  kv_doctor --serve "$@" >/tmp/host &
  host=$!
  read -r line </tmp/host
  echo "$line"
}
stop() {
  kill "$host"
  wait "$host" || fail "exit code $? of the other side"
}

serve --listen=10.9.9.2:7499 --device=rxe1 --secret_file=/tmp/none >/dev/null 2>&1
wait "$host" && fail "it serves with a secret that is not there"

(umask 077; echo "a secret that both have" >/tmp/secret; echo "another one, by mistake" >/tmp/other)
serve --listen=10.9.9.2:7499 --device=rxe1 --secret_file=/tmp/secret
kv_doctor 10.9.9.2:7499 --memory=64M --fabric=verbs,tcp,shm --device=rxe0 --secret_file=/tmp/secret \
  >/tmp/out || fail "exit code $?"
expect '^ok    handshake  .*this machine, has shm, verbs, tcp'
for fabric in verbs tcp shm; do
  expect "^ok    pair $fabric  .*to the peer: READ of 8 B [0-9.]+ us, 1 MiB WRITE [0-9]+ MB/s, .*from it: READ"
done
kv_doctor 10.9.9.2:7499 --memory=64M --device=rxe0 --secret_file=/tmp/other >/tmp/out && fail "a secret"
expect '^BAD   handshake  .*secret is not the server'
stop

# A peer without verbs: BAD where verbs is wanted.
serve --listen=127.0.0.1:7499 --fabric=tcp
kv_doctor 127.0.0.1:7499 --memory=64M --fabric=verbs,tcp >/tmp/out && fail "verbs that are not there"
expect '^BAD   pair verbs  .*the peer has tcp only'
expect '^ok    pair tcp '
stop

# Small packets pass and large ones do not, as between machines whose MTUs differ.
serve --listen=127.0.0.1:7499 --device=rxe1
/bin/ip link set eth1 mtu 400
kv_doctor 127.0.0.1:7499 --memory=64M --device=rxe0 >/tmp/out && fail "packets that are too large"
expect '^BAD   pair verbs  .* of 1 MiB: retry exceeded \(request [0-9]+ failed: transport retry counter exceeded\)'
expect 'mend:  ping -M do -s 4172'
expect '^ok    pair tcp '
stop
/bin/ip link set eth1 mtu 4200

# The handshake goes well over loopback, and the cards do not reach each other.
serve --listen=127.0.0.1:7499 --device=rxe1
/bin/ip link set eth1 down
kv_doctor 127.0.0.1:7499 --memory=64M --device=rxe0 >/tmp/out && fail "a card without a cable"
expect '^ok    handshake '
expect '^BAD   pair verbs '
expect 'mend:  iptables -I INPUT -p udp --dport 4791 -j ACCEPT'
stop
echo "all as it should be"
