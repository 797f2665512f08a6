"""Config sim, also for a single target in a build of another config."""

def _simulate_flag_impl(_context):
    return []

# A switch of the command line: --//tools/bazel:simulate.
simulate_flag = rule(
    implementation = _simulate_flag_impl,
    build_setting = config.bool(flag = True),
)

# What .bazelrc says in build:sim, and nothing of what another config says: a simulated program is the same one,
# whoever asks for it.
def _simulating_impl(_settings, _attr):
    return {
        "//command_line_option:compilation_mode": "fastbuild",
        "//command_line_option:copt": ["-DACRE_SIM=1", "-O2", "-g1", "-march=x86-64-v2"],
        "//command_line_option:linkopt": [],
        "//command_line_option:platform_suffix": "-sim",
        "//command_line_option:strip": "never",
        "//tools/bazel:simulate": True,
    }

_simulating = transition(
    implementation = _simulating_impl,
    inputs = [],
    outputs = [
        "//command_line_option:compilation_mode",
        "//command_line_option:copt",
        "//command_line_option:linkopt",
        "//command_line_option:platform_suffix",
        "//command_line_option:strip",
        "//tools/bazel:simulate",
    ],
)

def _acre_simulated_program_impl(context):
    # A rule with a transition sees a list.
    target = context.attr.program[0]
    program = context.actions.declare_file(context.label.name)
    context.actions.symlink(
        output = program,
        target_file = target[DefaultInfo].files_to_run.executable,
        is_executable = True,
    )
    return [DefaultInfo(
        files = depset([program]),
        runfiles = context.runfiles([program]).merge(target[DefaultInfo].default_runfiles),
        executable = program,
    )]

# A program of the simulator (acre_cc_sim_binary), built in config sim and named in any config: for the data of one that
# starts it.
acre_simulated_program = rule(
    implementation = _acre_simulated_program_impl,
    attrs = {
        "program": attr.label(cfg = _simulating, executable = True, mandatory = True),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
    executable = True,
)
