"""What is in kvs/ for transactions."""

load("//tools/bazel:acre.bzl", "acre_cc_fuzz_test", "acre_cc_library", "acre_cc_test")

def transaction_targets():
    """Homes, coordinators, and what they say to each other (docs/transactions.md)."""
    # Who has a lock, for who loses against it.
    acre_cc_library(
        name = "transaction_holders",
        hdrs = [
            "transaction_holders.h",
            "transaction_id.h",
        ],
        deps = [
            "//third_party:absl",
            "//transport:fabric",
        ],
    )

    # Which keys transactions meet at.
    acre_cc_library(
        name = "contended_keys",
        srcs = ["contended_keys.cc"],
        hdrs = ["contended_keys.h"],
        deps = [
            "//runtime:mutex",
            "//third_party:absl",
        ],
    )

    acre_cc_test(
        name = "contended_keys_test",
        srcs = ["contended_keys_test.cc"],
        races = True,
        deps = [
            ":contended_keys",
            "//runtime:random",
            "//third_party:absl",
        ],
    )

    # The home's side of transactions.
    acre_cc_library(
        name = "transaction_home",
        srcs = [
            "transaction_hold.cc",
            "transaction_home.cc",
            "write_plan.cc",
        ],
        hdrs = [
            "transaction_hold.h",
            "transaction_home.h",
            "write_plan.h",
        ],
        deps = [
            ":contended_keys",
            ":format",
            ":heap",
            ":limits",
            ":read_mark",
            ":table",
            ":transaction_holders",
            "//lock:local_lock",
            "//lock:pause",
            "//runtime:planted_bug",
            "//runtime:scheduler",
            "//runtime:shared_word",
            "//runtime:task",
            "//third_party:absl",
            "//third_party:glog",
            "//transport:fabric",
        ],
    )

    acre_cc_library(
        name = "transaction_wire",
        srcs = ["transaction_wire.cc"],
        hdrs = ["transaction_wire.h"],
        deps = [
            ":limits",
            ":transaction_home",
            "//third_party:absl",
            "//third_party:glog",
            "//transport:fabric",
            "//transport:rpc",
            "//transport:wire_bytes",
        ],
    )

    acre_cc_library(
        name = "coordinator",
        srcs = [
            "coordinator.cc",
            "coordinator_commit.cc",
            "transaction.cc",
            "transaction_attempts.cc",
            "transaction_link.cc",
        ],
        hdrs = [
            "coordinator.h",
            "coordinator_name.h",
            "transaction.h",
            "transaction_attempts.h",
            "transaction_link.h",
            "transaction_stats.h",
        ],
        deps = [
            ":format",
            ":limits",
            ":mapped_reader",
            ":read_mark",
            ":remote_reader",
            ":transaction_home",
            ":transaction_wire",
            ":wire",
            "//runtime:planted_bug",
            "//runtime:random",
            "//runtime:scheduler",
            "//runtime:task",
            "//third_party:absl",
            "//third_party:glog",
            "//transport:rpc",
        ],
    )

    acre_cc_test(
        name = "coordinator_name_test",
        srcs = ["coordinator_name_test.cc"],
        deps = [":coordinator"],
    )

    acre_cc_test(
        name = "transaction_wire_test",
        srcs = ["transaction_wire_test.cc"],
        deps = [
            ":limits",
            ":transaction_wire",
            "//third_party:absl",
            "//transport:fabric",
            "//transport:rpc",
            "//transport:wire_bytes",
        ],
    )

    acre_cc_fuzz_test(
        name = "transaction_wire_fuzz",
        srcs = ["transaction_wire_fuzz.cc"],
        corpus = native.glob(["corpus/transaction_wire/*"]),
        deps = [
            ":limits",
            ":transaction_wire",
            "//third_party:absl",
            "//third_party:glog",
        ],
    )
