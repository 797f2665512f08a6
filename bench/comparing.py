"""What the comparisons over RDMA cards have in common (compare_locks.py, compare_verbs.py)."""

import argparse
import os
import sys

VM = "tools/rxe-vm"


def fail(name, message):
    print(f"{name}: {message}", file=sys.stderr)
    sys.exit(1)


def make_parser(description, seconds_of):
    """With the flags that all of them have. `seconds_of`: what is measured for so long."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="default 5")
    parser.add_argument("--seconds", type=float, default=2, help=f"of {seconds_of}; default 2")
    parser.add_argument("--here", action="store_true", help="on this machine's cards, not in the virtual machine")
    return parser


def parse_flags(name, parser):
    flags = parser.parse_args()
    if flags.rounds < 1 or flags.seconds <= 0:
        fail(name, "--rounds and --seconds are above 0")
    return flags


def find_root(name, programs):
    """Where programs and virtual machine lie by their paths in the project: the script's runfiles."""
    for folder in (os.getcwd(), os.path.abspath(sys.argv[0]) + ".runfiles/acre"):
        if all(os.path.exists(os.path.join(folder, path)) for path in (*programs, VM)):
            return folder
    fail(name, f"cannot find its programs: start it with bazel run --config=opt //bench:{name}")
    return None
