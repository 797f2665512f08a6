#!/usr/bin/env python3
"""Server and client on two machines, each a virtual one with an RDMA card, on one link.

    two_guests_test.py RXE_VM KV_SERVER CLIENT

The client's machine runs CLIENT (scenario.h), which asks for what is to happen to the server's machine
by lines of its output, "do: ...". This script does it. It owns the machines: none outlives it.
"""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time

SERVER_PORT = 7400
SWITCH_PORT = 7401
SERVER = f"10.9.9.1:{SERVER_PORT}"
GUEST_SECRET = "/root/acre.secret"
# Two minutes on two quiet processors, less than a medium test's five on busy ones.
TIMEOUT_S = 240
START = time.monotonic()


class Failure(Exception):
    """What the test found, in words."""


def tell(line):
    print(f"[{time.monotonic() - START:5.1f} s] {line}", flush=True)


class Guest:
    """A virtual machine that runs one command. Its standard output is read line by line."""

    def __init__(self, name, rxe_vm, folder, options, command):
        self.name = name
        self._pidfile = os.path.join(folder, f"{name}.pid")
        self._stderr = os.path.join(folder, f"{name}.err")
        vm = [rxe_vm, "--cpus", "1", "--mem", "768", "--timeout", str(TIMEOUT_S)]
        with open(self._stderr, "wb") as stderr:
            self._process = subprocess.Popen(
                vm + ["--pidfile", self._pidfile] + options + ["--"] + command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )

    def lines(self):
        """Each as it comes, until the machine has ended."""
        for line in self._process.stdout:
            tell(f"{self.name}: {line.rstrip()}")
            yield line.rstrip()

    def wait_for_line(self, part):
        if not any(part in line for line in self.lines()):
            raise Failure(f"{self.name}: it ended without a line with \"{part}\"")

    def wait(self):
        """Returns the exit code of the machine's command."""
        for _ in self.lines():
            pass
        return self._process.wait()

    def kill(self):
        """The machine vanishes without a word."""
        with open(self._pidfile, encoding="ascii") as file:
            os.kill(int(file.read()), signal.SIGKILL)
        self.wait()

    def end(self):
        if self._process.poll() is None:
            self._process.terminate()  # rxe-vm then ends its QEMU.
        self.wait()

    def print_stderr(self):
        with open(self._stderr, encoding="utf-8", errors="replace") as file:
            for line in file:
                print(f"{self.name}'s stderr: {line.rstrip()}", flush=True)


def claim_ports(stack):
    """Returns a PORT whose two successors, which a link takes, are free: nobody else's test claims them as
    long as its own socket, on PORT, is open."""
    for port in random.sample(range(20000, 32000, 3), 100):
        with contextlib.ExitStack() as probes:
            try:
                for neighbour in (port + 1, port + 2):
                    probe = probes.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                    probe.bind(("127.0.0.1", neighbour))
                claim = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                claim.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise Failure("100 ports were tried, none of them is free")


class Test:
    def __init__(self, stack, rxe_vm, kv_server, client):
        self._stack = stack
        self._rxe_vm = rxe_vm
        self._kv_server = kv_server
        self._client = client
        self._folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="two_guests_"))
        self._share = os.path.join(self._folder, "share")
        os.mkdir(self._share)
        self._secret = os.path.join(self._folder, "acre.secret")
        with open(os.open(self._secret, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write("two machines, one secret\n")
        self._link = claim_ports(stack)
        self._servers = 0
        self._server = None
        self.guests = []

    def _start(self, name, end, options, command):
        tell(f"starts the machine of {name}")
        options = ["--link", f"{self._link}:{end}"] + options
        options += ["--add", f"{self._secret}:{GUEST_SECRET}"]
        guest = Guest(name, self._rxe_vm, self._folder, options, command)
        self._stack.callback(guest.end)
        self.guests.append(guest)
        return guest

    def _start_server(self):
        self._servers += 1
        serve = (
            f"/root/kv_server --listen=0.0.0.0:{SERVER_PORT} --secret_file={GUEST_SECRET}"
            " --fabric=verbs,tcp --memory=128M --threads=1"
        )
        # Who connects to the switch's port takes the link away.
        script = f"{serve} & nc -l -p {SWITCH_PORT} && /bin/ip link set eth0 down; wait"
        name = f"server {self._servers}"
        add = ["--add", f"{self._kv_server}:/root/kv_server"]
        self._server = self._start(name, 1, add, ["sh", "-c", script])
        self._server.wait_for_line("listening on")

    def _kill_server(self):
        with open(os.path.join(self._share, "death"), "w"):
            pass
        self._server.kill()
        tell(f"{self._server.name} is gone")

    def run(self):
        deeds = {"do: kill the server": self._kill_server, "do: start a server": self._start_server}
        self._start_server()
        client = self._start(
            "client",
            2,
            ["--share", self._share],
            [
                self._client,
                f"--server={SERVER}",
                f"--secret_file={GUEST_SECRET}",
                "--death_mark=/share/death",
                f"--switch_port={SWITCH_PORT}",
            ],
        )
        for line in client.lines():
            if line in deeds:
                deeds.pop(line)()
        code = client.wait()
        if code != 0:
            raise Failure(f"the client's machine ended with exit code {code}")
        if deeds:
            raise Failure(f"the client never asked for: {', '.join(deeds)}")


def give_up(signal_number, _):
    # Only once: cleaning up takes a moment.
    signal.signal(signal_number, signal.SIG_IGN)
    raise Failure(
        f"not done after {TIMEOUT_S} s" if signal_number == signal.SIGALRM else "told to end"
    )


def main():
    for signal_number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, give_up)
    signal.alarm(TIMEOUT_S)
    with contextlib.ExitStack() as stack:
        test = Test(stack, *sys.argv[1:])
        try:
            test.run()
        except Failure as failure:
            for guest in test.guests:
                guest.print_stderr()
            tell(f"FAILED: {failure}")
            return 1
    tell("passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
