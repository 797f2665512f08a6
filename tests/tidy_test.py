#!/usr/bin/env python3
"""Judges the source tree by the rules of tidy.py, after judging the rules themselves: each must
refuse what is planted for it, and all must let a clean tree pass.

Runs as a Bazel test and by hand; both find the tree through this file's real path.
"""

import os
import sys
import tempfile
import unittest

TESTS = os.path.dirname(os.path.realpath(__file__))
sys.dont_write_bytecode = True  # The tree stays as it was checked out.
sys.path.insert(0, TESTS)

import tidy  # pylint: disable=wrong-import-position


def header(folder, name, body):
    guard = f"ACRE_{folder}_{name}_H_".upper().replace("/", "_")
    return f"#ifndef {guard}\n#define {guard}\n{body}\n#endif  // {guard}\n"


def function(lines_count, head="void F()"):
    return head + " {\n" + "  G();\n" * (lines_count - 2) + "}\n"


def indented(text):
    return "".join("  " + line for line in text.splitlines(keepends=True))


BUILD = 'package(default_visibility = ["//:users_of_kvs"])\n'

# Tree that breaks exactly one rule -> the rule, and the line where it must be found.
REFUSED = [
    ("file-length", 601, {"kvs/a.cc": "int x;\n" * 601}),
    ("function-length", 1, {"kvs/a.cc": function(71)}),
    ("function-length", 3, {"kvs/a.cc": "namespace {\n\n" + function(71) + "\n}  // namespace\n"}),
    ("function-length", 2, {"kvs/a.cc": "class A {\n" + indented(function(71)) + "};\n"}),
    ("function-length", 1, {"kvs/a.cc": function(71, "A::A(int x) : x_{x}, y_{x}")}),
    ("function-length", 1, {"kvs/a_test.cc": function(71, "TEST(Store, Works)")}),
    ("function-length", 1, {"tools/a.py": "def f():\n" + "    g()\n" * 70}),
    ("memcpy", 1, {"kvs/a.cc": "void F() { memcpy(a, b, 8); }\n"}),
    ("memcpy", 1, {"runtime/a.cc": "void F() { std::memset(a, 0, 8); }\n"}),
    ("memcpy", 2, {"lock/a.cc": "// Copies the word.\nvoid F() { __builtin_memmove(a, b, 8); }\n"}),
    ("fence", 1, {"bench/a.cc": "void F() { std::atomic_thread_fence(order); }\n"}),
    ("sleep", 1, {"kvs/a_test.cc": "void F() { std::this_thread::sleep_for(x); }\n"}),
    ("sleep", 1, {"tests/a.cc": "void F() { absl::SleepFor(x); }\n"}),
    ("sleep", 1, {"tests/a.cc": "void F() { sleep(1); }\n"}),
    ("sleep", 3, {"tests/a.h": header("tests", "a", "void F() { usleep(1); }")}),
    ("script-sleep", 2, {"tests/a.sh": "#!/bin/bash\nsleep 1\n"}),
    ("script-sleep", 2, {"tests/a.py": "import time\ntime.sleep(1)\n"}),
    ("std-types", 3, {"kvs/a.h": header("kvs", "a", "void F(std::string_view key);")}),
    ("std-types", 3, {"kvs/a.h": header("kvs", "a", "std::optional<int> F();")}),
    ("std-types", 3, {"kvs/a.h": header("kvs", "a", "void F(std::span<int> values);")}),
    ("absl-sync", 1, {"kvs/a.cc": '#include "absl/synchronization/mutex.h"\n'}),
    ("doubt", 1, {"kvs/a.cc": "// TODO: later.\n"}),
    ("doubt", 1, {"docs/a.md": "FIXME\n"}),
    ("doubt", 2, {"tools/a": "#!/bin/bash\n# XXX\n"}),
    ("flags", 1, {"server/a.cc": 'DEFINE_string(listen, "", "Where.");\n'}),
    ("flags", 1, {"server/a.cc": "DECLARE_int32(threads);\n"}),
    ("exit", 1, {"server/a.cc": "void F() { std::exit(1); }\n"}),
    ("throw", 1, {"server/a.cc": "void F() { throw 1; }\n"}),
    ("using", 3, {"kvs/a.h": header("kvs", "a", "using namespace std;")}),
    ("guard", 1, {"kvs/a.h": header("lock", "a", "")}),
    ("guard", 1, {"transport/shm/a.h": header("transport", "a", "")}),
    ("guard", 1, {"kvs/a.h": "#pragma once\n"}),
    ("include", 1, {"runtime/a.cc": '#include "transport/fabric.h"\n'}),
    ("include", 1, {"kvs/a_test.cc": '#include "server/server.h"\n'}),
    ("include", 1, {"server/a.cc": '#include "client/client.h"\n'}),
    ("include", 1, {"client/a.cc": '#include "server/server.h"\n'}),
    ("include", 1, {"bench/a.cc": '#include "tests/cluster.h"\n'}),
    ("include", 1, {"transport/ring.cc": '#include "transport/shm/shm_fabric.h"\n'}),
    ("include", 1, {"kvs/a.cc": '#include "table.h"\n'}),
    ("include", 1, {"kvs/a.cc": '#include "../kvs/table.h"\n'}),
    ("build-file", 1, {"kvs/BUILD": 'package(default_visibility = ["//:users_of_lock"])\n'}),
    ("build-file", 2, {"kvs/BUILD": BUILD + 'x(visibility = ["//visibility:public"])\n'}),
    ("build-file", 2, {"kvs/BUILD": BUILD + 'cc_library(name = "a")\n'}),
    ("note", 1, {"kvs/a.cc": '// See "Growth".\n', "docs/a.md": "# Shrinking\n"}),
    ("note", 1, {"kvs/a.cc": '// See "A" in docs/a.md.\n', "docs/a.md": "", "docs/b.md": "# A\n"}),
    ("note", 1, {"kvs/a.cc": '// Why? See\n// "Up\n// there".\n', "docs/a.md": "# Up\n"}),
    ("link", 1, {"kvs/a.cc": "// docs/wire.md says why.\n"}),
    ("link", 2, {"kvs/a.cc": "\n// docs/wire.md#record\n", "docs/wire.md": "# Frame\n"}),
    ("link", 1, {"README.md": "[wire](docs/wire.md)\n"}),
    ("link", 1, {"docs/a.md": "[below](#record)\n"}),
    ("format", 1, {"kvs/a.cc": "int  x;\n"}),
    ("shellcheck", 2, {"tools/a": "#!/bin/bash\ncd $1 || exit\n"}),
]

CLEAN = {
    "kvs/BUILD": BUILD + 'acre_cc_library(name = "table")\n',
    "kvs/table.h": header("kvs", "table", "// std::optional, and throw, in a comment are free."),
    "kvs/table.cc": '#include "kvs/table.h"\n\n#include "absl/types/span.h"\n#include "lock/a.h"\n',
    "kvs/long.cc": function(70) + "\nstruct alignas(64) Line {\n" + "  int x;\n" * 80 + "};\n",
    "kvs/words.cc": 'const char* const kWords = "throw {{{ sleep(1) // exit(1)";\n'
    "const char kBrace = '{';\n" + function(70),
    "kvs/copy.cc": "void F() { memcpy(a, b, 8); }  // Private memory: the caller's string.\n"
    "// The frame is private memory until it is sent, so\n// nobody sees it torn.\n"
    "void G() { memset(a, 0, 8); }\n",
    "kvs/notes.cc": '// See "Growth of tables" in docs/table.md.\n// See "Growth of\n// tables".\n'
    "// docs/table.md#growth-of-tables\n",
    "docs/table.md": "# Table\n\n[below](#growth-of-tables) [home](../README.md) [w](https://a.b)\n\n"
    "## Growth of tables\n",
    "README.md": "[docs](docs) [table](docs/table.md#growth-of-tables)\n",
    "server/kv_server.cc": 'DEFINE_string(listen, "", "Where.");\n\nint main() { exit(0); }\n',
    "tests/wait.sh": "#!/bin/bash\n# It would sleep 1 second, were that allowed.\ntrue\n",
    "transport/conformance.cc": '#include "transport/shm/shm_fabric.h"\n',
    "transport/shm/shm_fabric.cc": '#include "transport/shm/shm_fabric.h"\n',
}


def findings_in(files, exceptions=None):
    """Writes the files to a folder of their own and judges it."""
    with tempfile.TemporaryDirectory() as root:
        tree = {".clang-format": "BasedOnStyle: Google\nColumnLimit: 100\n", **files}
        for path, text in tree.items():
            os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write(text)
        return tidy.findings(root, exceptions or {})


class TidyTest(unittest.TestCase):
    def test_each_planted_violation_is_refused_where_it_stands(self):
        for rule, line, files in REFUSED:
            with self.subTest(rule=rule, files=files):
                found = findings_in(files)
                path = next(iter(files))
                self.assertEqual(len(found), 1, found)
                self.assertTrue(found[0].startswith(f"{path}:{line}: [{rule}]"), found)

    def test_every_rule_has_a_planted_violation(self):
        self.assertEqual({rule for rule, _, _ in REFUSED}, {*tidy.TREE_RULES, *tidy.TOOL_RULES})

    def test_a_clean_tree_passes(self):
        self.assertEqual(findings_in(CLEAN), [])

    def test_an_exception_excuses_its_rule_and_file_only(self):
        files = {"kvs/a.cc": "void F() { throw 1; }\n", "kvs/b.cc": "void F() { throw 1; }\n"}
        found = findings_in(files, {("throw", "kvs/a.cc"): "why"})
        self.assertEqual([line.split(" ")[0] for line in found], ["kvs/b.cc:1:"])

    def test_an_exception_that_is_not_needed_is_refused(self):
        found = findings_in({"kvs/a.cc": "int x;\n"}, {("throw", "kvs/a.cc"): "why"})
        self.assertEqual(found, ["kvs/a.cc:1: [throw] exception is no longer needed"])

    def test_the_source_tree_is_tidy(self):
        found = tidy.findings(os.path.dirname(TESTS), tidy.EXCEPTIONS)
        self.assertFalse(found, "\n" + "\n".join(found))


if __name__ == "__main__":
    unittest.main()
