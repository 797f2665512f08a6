"""Tests of servers that let their clients write by themselves (kv_server --trust)."""

load("//tools/bazel:acre.bzl", "acre_cc_test", "acre_rxe_test")

def trusted_tests(client_test_deps):
    """On each fabric that has such servers.

    Args:
      client_test_deps: of tests that use the store as its clients do.
    """
    [acre_cc_test(
        name = "updates_%s_test" % fabric,
        size = "medium",
        srcs = ["updates_test.cc"],
        data = [
            "//bench:ycsb",
            "//client:kv_cli",
            "//server:kv_server",
        ],
        deps = client_test_deps + [
            ":or_die_trusted_" + fabric,
            ":process",
            "//runtime:clock",
        ],
    ) for fabric in [
        "shm",
        "tcp",
    ]]

    [acre_cc_test(
        name = "joining_%s_test" % fabric,
        size = "medium",
        srcs = ["joining_test.cc"],
        data = ["//server:kv_server"],
        deps = client_test_deps + [
            ":or_die_trusted_" + fabric,
            ":process",
            "//runtime:clock",
            "//runtime:scheduler",
        ],
    ) for fabric in [
        "shm",
        "tcp",
    ]]

    [acre_cc_test(
        name = "store_trusted_%s_test" % fabric,
        size = "medium",
        srcs = [
            "budget_test.cc",
            "cluster_test.cc",
            "paths_test.cc",
            "restart_test.cc",
        ],
        # Of a cluster only what a way of putting may change.
        args = ["--gtest_filter=All/BudgetTest*:All/PathsTest*:All/RestartTest*:All/ClusterTest.ManyCoroutines*"],
        data = ["//server:kv_server"],
        deps = client_test_deps + [
            ":or_die_trusted_" + fabric,
            ":process",
            ":test_cluster",
            "//kvs:limits",
            "//runtime:clock",
            "//runtime:scheduler",
            "//runtime:scoped_fd",
            "//transport:socket",
        ],
    ) for fabric in [
        "shm",
        "tcp",
    ]]

    acre_cc_test(
        name = "store_trusted_over_verbs_test",
        srcs = [
            "budget_test.cc",
            "paths_test.cc",
            "updates_test.cc",
        ],
        tags = ["manual"],
        deps = client_test_deps + [
            ":or_die_trusted_verbs",
            ":process",
            "//kvs:limits",
            "//runtime:clock",
        ],
    )

    acre_rxe_test(
        name = "updates_verbs_test",
        # Gets are store_verbs_test's.
        args = ["--gtest_filter=All/UpdatesTest.*:All/PathsTest.*:All/BudgetTest.Update*:UpdatesOn*" +
                "-*PathsTest.MultiGet*:*PathsTest.Limits*:*PathsTest.OnlyRpc*"],
        program = ":store_trusted_over_verbs_test",
        programs = [
            "//bench:ycsb",
            "//client:kv_cli",
            "//server:kv_server",
        ],
    )
