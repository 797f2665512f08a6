"""The project's own C++ rules: Bazel's, with warnings as errors and a sanitizer for every test."""

# g++ does not warn of sign conversions in C++ under -Wconversion, clang does: both shall agree.
_COPTS = [
    "-Wall",
    "-Wextra",
    "-Wshadow",
    "-Wconversion",
    "-Wno-sign-conversion",
    "-Werror",
]

def acre_cc_library(copts = [], **kwargs):
    native.cc_library(copts = _COPTS + copts, **kwargs)

def acre_cc_binary(copts = [], **kwargs):
    native.cc_binary(copts = _COPTS + copts, **kwargs)

def acre_cc_test(
        races = False,
        optimised = False,
        size = "small",
        copts = [],
        deps = [],
        tags = [],
        **kwargs):
    """A test with gtest's main. tools/test runs it once, in the config that its tag asks for.

    Args:
      races: has threads that race: runs under tsan, all others under asan and ubsan.
      optimised: judges speed, or drives programs as users run them: runs in config opt.
    """
    if races and optimised:
        fail("a test runs in one config: split what races from what is measured")
    config = "tsan" if races else "opt" if optimised else "asan-ubsan"
    native.cc_test(
        size = size,
        copts = _COPTS + copts,
        deps = deps + ["//third_party:gtest_main"],
        tags = tags + [config],
        # Debian's Abseil is static: what only a library of ours needs of it, a dynamically linked
        # test would not bring along.
        linkstatic = True,
        **kwargs
    )

def acre_rxe_test(
        name,
        program,
        args = [],
        programs = [],
        vm_options = [],
        config = "opt",
        tags = [],
        **kwargs):
    """Runs a test program in a virtual machine that has RDMA devices (tools/rxe-vm).

    Args:
      name: of the test.
      program: a test or a binary. (The machine has no vectors beyond AVX2; all configs do without.)
      args: of the program.
      programs: others that it starts, by the same paths from where it runs as on the host.
      vm_options: of rxe-vm.
      config: that it is built and run in.
    """
    adds = []
    for other in programs:
        adds += ["--add", "$(rootpath %s):/root/$(rootpath %s)" % (other, other)]
    native.sh_test(
        name = name,
        size = "medium",
        srcs = ["//tools:rxe-vm"],
        args = ["--timeout", "280"] + adds + vm_options + ["--", "$(rootpath %s)" % program] + args,
        data = [program] + programs,
        # Two of these machines at a time keep each other waiting.
        tags = tags + [config, "exclusive"],
        **kwargs
    )

_SIMULATING_ONLY = select({
    "//tools/bazel:simulating": [],
    "//conditions:default": ["//tools/bazel:needs_config_sim"],
})

def acre_cc_sim_library(copts = [], tags = [], **kwargs):
    """A part of the simulator. It exists in config sim only."""
    native.cc_library(
        copts = _COPTS + copts,
        tags = tags + ["sim"],
        target_compatible_with = _SIMULATING_ONLY,
        **kwargs
    )

def acre_cc_sim_binary(copts = [], tags = [], **kwargs):
    """A program of the simulator. It exists in config sim only, or as an acre_simulated_program."""
    native.cc_binary(
        copts = _COPTS + copts,
        tags = tags + ["sim"],
        target_compatible_with = _SIMULATING_ONLY,
        **kwargs
    )

def acre_cc_sim_test(size = "small", copts = [], deps = [], tags = [], **kwargs):
    """A test in the simulator, with gtest's main. It exists in config sim only."""
    native.cc_test(
        size = size,
        copts = _COPTS + copts,
        deps = deps + ["//third_party:gtest_main"],
        tags = tags + ["sim"],
        linkstatic = True,
        target_compatible_with = _SIMULATING_ONLY,
        **kwargs
    )

def acre_cc_sim_program_test(copts = [], tags = [], **kwargs):
    """A program of the simulator with a main of its own, which is a test as it is without flags."""
    native.cc_test(
        copts = _COPTS + copts,
        tags = tags + ["sim"],
        linkstatic = True,
        target_compatible_with = _SIMULATING_ONLY,
        **kwargs
    )

def acre_cc_fuzz_test(name, corpus = [], copts = [], linkopts = [], tags = [], **kwargs):
    """A libFuzzer target, and a test that runs it for a short while from its kept corpus.

    Both exist in config fuzz only. For a long hunt that keeps what it finds:
    `bazel run --config=fuzz //FOLDER:NAME_fuzzer -- $PWD/FOLDER/CORPUS`.

    Args:
      name: of the test.
      corpus: glob of the kept inputs.
    """
    fuzzing_only = select({
        "//tools/bazel:fuzzing": [],
        "//conditions:default": ["//tools/bazel:needs_config_fuzz"],
    })
    native.cc_binary(
        name = name + "_fuzzer",
        testonly = True,
        copts = _COPTS + copts,
        linkopts = linkopts + ["-fsanitize=fuzzer"],
        tags = ["fuzz"],
        target_compatible_with = fuzzing_only,
        **kwargs
    )
    native.sh_test(
        name = name,
        size = "small",
        srcs = ["//tools/bazel:run_fuzzer.sh"],
        args = ["$(rootpath :%s_fuzzer)" % name] + ["$(rootpath %s)" % file for file in corpus],
        data = [":%s_fuzzer" % name] + corpus,
        tags = tags + ["fuzz"],
        target_compatible_with = fuzzing_only,
    )
