"""The rules of the house that a machine can judge. tidy_test.py runs them over the source tree.

Each rule is a function that yields (path, line, message) for what it refuses. A place that breaks a
rule for a good reason stands in EXCEPTIONS, with that reason.
"""

import ast
import collections
import dataclasses
import os
import re
import subprocess

LINES_MAX = 600
FUNCTION_LINES_MAX = 70

# (rule, path) -> why the rule makes that file worse. One that is no longer needed is refused too.
EXCEPTIONS = {
    ("doubt", "tests/tidy.py"): "names the marks",
    ("doubt", "tests/tidy_test.py"): "plants them",
    ("flags", "runtime/command_line_test.cc"): "the code under test sets flags",
    ("note", "tests/tidy.py"): "tells what a note looks like",
    ("note", "tests/tidy_test.py"): "plants dangling ones",
    ("link", "tests/tidy.py"): "tells what a link looks like",
    ("link", "tests/tidy_test.py"): "plants dangling ones",
    ("build-file", "client/BUILD"): "users' own packages link the client",
}

# What each folder may include. Bazel's visibility says the same of targets; this also sees an
# include that no `deps` admits.
MAY_INCLUDE = {
    "runtime": {"runtime"},
    "transport": {"runtime", "transport"},
    "lock": {"runtime", "transport", "lock"},
    "kvs": {"runtime", "transport", "lock", "kvs"},
    "server": {"runtime", "transport", "lock", "kvs", "server"},
    "client": {"runtime", "transport", "lock", "kvs", "client"},
    "bench": {"runtime", "transport", "lock", "kvs", "server", "client", "bench"},
    "tests": {"runtime", "transport", "lock", "kvs", "server", "client", "bench", "tests"},
}
SHARED_MEMORY_FOLDERS = ("runtime", "transport", "lock", "kvs")


@dataclasses.dataclass
class Source:
    """One file of the tree. For C++, `code` is its text with comments and literals blanked out, at
    the same line numbers."""

    path: str
    text: str

    def __post_init__(self):
        self.lines = self.text.splitlines()
        self.folder = self.path.split("/")[0]
        self.is_header = self.path.endswith(".h")
        self.is_cpp = self.path.endswith((".h", ".cc"))
        self.is_test = self.folder == "tests" or re.search(r"_test\.\w+$", self.path) is not None
        self.code = blank_comments_and_literals(self.text) if self.is_cpp else ""
        self.code_lines = self.code.splitlines()
        self.is_main = re.search(r"\bint main\(", self.code) is not None


_COMMENT_OR_LITERAL = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<mark>[^()\s]*)\(.*?\)(?P=mark)"'
    r"""|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'""",
    re.DOTALL,
)


def blank_comments_and_literals(text):
    """Includes keep their quoted path: rules read it."""

    def blank(match):
        line_start = text.rfind("\n", 0, match.start()) + 1
        if text[line_start : match.start()].startswith("#include"):
            return match[0]
        return re.sub(r"[^\n]", " ", match[0])

    return _COMMENT_OR_LITERAL.sub(blank, text)


def read_tree(root):
    """All text files of the project, by path. Outputs of Bazel and hidden folders but .ci are not
    part of it."""
    tree = {}
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(
            name
            for name in subfolders
            if (name == ".ci" or not name.startswith("."))
            and not (folder == root and name.startswith("bazel-"))
        )
        for name in sorted(files):
            path = os.path.join(folder, name)
            if os.path.islink(path):
                continue
            with open(path, "rb") as file:
                content = file.read()
            try:
                text = content.decode("utf-8")
            except UnicodeDecodeError:
                continue  # A fuzzer's kept input, a picture.
            relative = os.path.relpath(path, root)
            tree[relative] = Source(relative, text)
    return tree


# ---- Rules on one line of code.


@dataclasses.dataclass
class LineRule:
    """Refuses code that matches `pattern` in the files that `applies` picks."""

    pattern: str
    applies: collections.abc.Callable
    message: str


LINE_RULES = {
    "fence": LineRule(
        r"\batomic_thread_fence\b|\batomic_signal_fence\b",
        lambda source: source.is_cpp,
        "no fences: the memory order stands on the word that carries it (tsan follows no fence)",
    ),
    "sleep": LineRule(
        r"\b(sleep_for|sleep_until|usleep|absl::SleepFor|nanosleep)\b|\bsleep\(",
        lambda source: source.is_cpp and source.is_test,
        "no sleeping in tests: step the clock or wait for the event",
    ),
    "std-types": LineRule(
        r"\bstd::(string_view|optional|span)\b",
        lambda source: source.is_header,
        "take absl::string_view, absl::optional, absl::Span: the std ones do not convert",
    ),
    "absl-sync": LineRule(
        r'#include "absl/synchronization/',
        lambda source: source.is_cpp,
        "tsan sees races under the locks of Debian's Abseil: use runtime/mutex.h",
    ),
    "flags": LineRule(
        r"\b(DEFINE|DECLARE)_(bool|u?int32|u?int64|double|string)\(|\bABSL_FLAG\(",
        lambda source: source.is_cpp and not source.is_main,
        "flags live in main files only: take an options struct",
    ),
    "exit": LineRule(
        r"\b(exit|quick_exit|_Exit)\(",
        lambda source: source.is_cpp and not source.is_main,
        "only main() ends the process: return a Status, or CHECK what is our own bug",
    ),
    "throw": LineRule(
        r"\bthrow\b",
        lambda source: source.is_cpp,
        "no exceptions: return a Status",
    ),
    "using": LineRule(
        r"\busing namespace\b",
        lambda source: source.is_header,
        "no `using namespace` in a header: every includer gets it",
    ),
}


def line_rule(rule):
    def check(tree):
        for source in filter(rule.applies, tree.values()):
            for number, line in enumerate(source.code_lines, 1):
                if re.search(rule.pattern, line):
                    yield source.path, number, rule.message

    return check


def check_script_sleeps(tree):
    for source in tree.values():
        if source.is_test and source.path.endswith((".sh", ".py")):
            for number, line in enumerate(source.lines, 1):
                if re.search(r"^\s*(time\.sleep\(|sleep\s+[\d.$])|[;&|]\s*sleep\s+[\d.$]", line):
                    yield source.path, number, LINE_RULES["sleep"].message


def check_memcpy(tree):
    for source in tree.values():
        if not (source.is_cpp and source.folder in SHARED_MEMORY_FOLDERS):
            continue
        for number, line in enumerate(source.code_lines, 1):
            if not re.search(r"\b(__builtin_)?mem(cpy|move|set)\b", line):
                continue
            justified = re.compile(r"//.*private memory", re.IGNORECASE)
            said = [source.lines[number - 1]]
            above = number - 2
            while above >= 0 and source.lines[above].strip().startswith("//"):
                said.append(source.lines[above])
                above -= 1
            if not any(map(justified.search, said)):
                yield source.path, number, (
                    "memcpy and its kin tear words that others see: copy through shared_word.h, or "
                    "say why this is `// private memory`"
                )


def check_doubts(tree):
    doubt = re.compile(r"\b(TODO|FIXME|XXX)\b")
    for source in tree.values():
        for number, line in enumerate(source.lines, 1):
            if doubt.search(line):
                yield source.path, number, "a doubt is an issue, a test or an argument, not a mark"


# ---- Rules on a file's shape.


def check_file_lengths(tree):
    for source in tree.values():
        code = source.path.endswith((".h", ".cc", ".py", ".sh", ".bzl", "BUILD"))
        if (code or source.folder == "tools") and len(source.lines) > LINES_MAX:
            yield source.path, len(source.lines), f"over {LINES_MAX} lines: cut it by concern"


def functions(source):
    """Yields (first line, last line) of each function with a body.

    Reads braces only. The text between the last `;`, `{` or `}` and an opening brace tells what it
    opens: parentheses mean a function, unless we are inside one already or it is a type, a
    namespace or a value."""
    depth = 0
    depth_of_function = None
    first_line = None
    just_closed = False
    header = ""
    header_line = 1
    number = 1
    for character in without_directives(source.code):
        if character == "{":
            depth += 1
            # A braced member initialiser looks like a body; the real body goes on from it.
            goes_on = just_closed and header.strip()[:1] in ("", ",")
            if depth_of_function is None and (goes_on or opens_function(header)):
                depth_of_function = depth
                first_line = first_line if goes_on else header_line
        elif character == "}":
            just_closed = depth == depth_of_function
            if just_closed:
                yield first_line, number
                depth_of_function = None
            depth -= 1
        elif character == ";":
            just_closed = False
        if character in "{};":
            header = ""
        else:
            if not header.strip():
                header_line = number
            header += character
        number += character == "\n"


def without_directives(code):
    """Preprocessor lines hold unbalanced braces at times; they leave only their newlines."""
    return re.sub(r"(?m)^#(?:.*\\\n)*.*", lambda match: "\n" * match[0].count("\n"), code)


def opens_function(header):
    header = re.sub(r"^\s*(public|private|protected):", "", header).strip()
    if "(" not in header or header.endswith("="):
        return False
    type_or_namespace = r"(template\s*<[^{]*>\s*)?(inline\s+)?(class|struct|union|enum|namespace)\b"
    return re.match(type_or_namespace, header) is None


def check_function_lengths(tree):
    for source in tree.values():
        spans = []
        if source.is_cpp:
            spans = functions(source)
        elif source.path.endswith(".py"):
            spans = (
                (node.lineno, node.end_lineno)
                for node in ast.walk(ast.parse(source.text))
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            )
        for first, last in spans:
            if last - first + 1 > FUNCTION_LINES_MAX:
                length = last - first + 1
                yield source.path, first, f"function of {length} lines, over {FUNCTION_LINES_MAX}"


def check_header_guards(tree):
    for source in tree.values():
        if source.is_header:
            guard = "ACRE_" + re.sub(r"[^A-Z0-9]", "_", source.path.upper()) + "_"
            if not re.search(rf"^#ifndef {guard}\n#define {guard}\n", source.code, re.MULTILINE):
                yield source.path, 1, f"header guard must be {guard}"


# ---- Rules on the order of folders.

# A server asks the others as one of their clients ("Servers ask each other as clients" in docs/decisions.md).
MAY_INCLUDE_TOO = {("server/home_links.h", "client")}


def check_includes(tree):
    for source in tree.values():
        for number, line in enumerate(source.code_lines, 1):
            match = re.match(r'#include "([^"]+)"', line)
            if not match:
                continue
            included = match[1]
            top = included.split("/")[0]
            if "/" not in included or top.startswith("."):
                yield source.path, number, "include by path from the workspace root"
            elif (source.path, top) in MAY_INCLUDE_TOO:
                continue
            elif top in MAY_INCLUDE and top not in MAY_INCLUDE.get(source.folder, MAY_INCLUDE):
                yield source.path, number, f"{source.folder}/ may not use {top}/"
            elif is_provider_of_own_interface(source, included):
                yield source.path, number, "transport/ rests on the Fabric, not on its providers"


def is_provider_of_own_interface(source, included):
    """True where transport/ itself reaches into transport/shm/ and the like. Its tests may."""
    in_transport = os.path.dirname(source.path) == "transport"
    name = os.path.basename(source.path)
    may = source.is_test or name.startswith("conformance") or name.endswith("_test_util.h")
    return in_transport and not may and re.match(r"transport/\w+/", included) is not None


def check_build_files(tree):
    for source in tree.values():
        if os.path.basename(source.path) != "BUILD" or source.folder not in MAY_INCLUDE:
            continue
        if f'default_visibility = ["//:users_of_{source.folder}"]' not in source.text:
            yield source.path, 1, f"default_visibility must be //:users_of_{source.folder}"
        for number, line in enumerate(source.lines, 1):
            if "//visibility:public" in line:
                yield source.path, number, "public visibility opens a way around the folders' order"
            if re.match(r"cc_(library|binary|test)\(", line):
                yield source.path, number, "use acre_cc_*: it brings warnings and the test's config"


# ---- Rules on notes and links.


def heading_slug(heading):
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def headings(source):
    text = re.sub(r"(?ms)^```.*?^```", "", source.text)
    return [match.strip().strip("`") for match in re.findall(r"(?m)^#+ +(.+?)#*$", text)]


def headings_by_document(tree):
    return {path: headings(source) for path, source in tree.items() if path.endswith(".md")}


# Between two words of a note: it may run on in the next comment line.
_GAP = r"(?:\s|//|#)+"
_NOTE = re.compile(rf'\bSee{_GAP}"([^"]+)"(?:{_GAP}in{_GAP}(docs/[\w./-]+\.md))?')
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_DOCUMENT = re.compile(r"(?<![\w/.])docs/[\w./-]+\.md(?:#[\w-]+)?")


def check_notes(tree):
    """`See "X"`, and `See "X" in docs/y.md`, name a heading of the documents."""
    documents = headings_by_document(tree)
    for source in tree.values():
        for match in _NOTE.finditer(source.text):
            name = re.sub(_GAP, " ", match[1])
            places = [match[2]] if match[2] else documents
            if not any(name in documents.get(place, []) for place in places):
                number = source.text.count("\n", 0, match.start()) + 1
                yield source.path, number, f'dangling note: no heading "{name}" in the documents'


def check_links(tree):
    documents = headings_by_document(tree)
    for source in tree.values():
        links = [(match.start(), match[0]) for match in _DOCUMENT.finditer(source.text)]
        if source.path.endswith(".md"):
            here = os.path.dirname(source.path)
            for match in _LINK.finditer(source.text):
                if not re.match(r"\w+:", match[1]):
                    path, _, anchor = match[1].partition("#")
                    path = os.path.normpath(os.path.join(here, path)) if path else source.path
                    links.append((match.start(), path + ("#" + anchor if anchor else "")))
        for position, link in links:
            path, _, anchor = link.partition("#")
            is_folder = any(other.startswith(path + "/") for other in tree)
            anchors = [heading_slug(heading) for heading in documents.get(path, [])]
            if (path not in tree and not is_folder) or (anchor and anchor not in anchors):
                number = source.text.count("\n", 0, position) + 1
                yield source.path, number, f"dangling link: {link}"


# ---- Tools that judge files by themselves.


def run_tool(command, paths, root):
    """Runs a linter over files; returns (exit code, its words)."""
    if not paths:
        return 0, ""
    done = subprocess.run(
        command + sorted(paths), cwd=root, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def check_format(tree, root):
    paths = [source.path for source in tree.values() if source.is_cpp]
    code, words = run_tool(["clang-format-14", "--dry-run", "-Werror"], paths, root)
    for path, number in sorted(set(re.findall(r"^(\S+?):(\d+):\d+: error:", words, re.MULTILINE))):
        yield path, int(number), "not formatted: run clang-format-14 -i"
    if code != 0 and "error:" not in words:
        yield "", 0, f"clang-format-14: {words}"


def check_scripts(tree, root):
    is_shell = re.compile(r"#!/bin/(ba)?sh\b|#!/usr/bin/env (ba)?sh\b")
    paths = [source.path for source in tree.values() if is_shell.match(source.text)]
    code, words = run_tool(["shellcheck", "--format=gcc"], paths, root)
    for path, number, message in re.findall(r"^(\S+?):(\d+):\d+: (.*)", words, re.MULTILINE):
        yield path, int(number), message
    if code > 1:
        yield "", 0, f"shellcheck: {words}"


TREE_RULES = {
    **{name: line_rule(rule) for name, rule in LINE_RULES.items()},
    "script-sleep": check_script_sleeps,
    "memcpy": check_memcpy,
    "doubt": check_doubts,
    "file-length": check_file_lengths,
    "function-length": check_function_lengths,
    "guard": check_header_guards,
    "include": check_includes,
    "build-file": check_build_files,
    "note": check_notes,
    "link": check_links,
}
TOOL_RULES = {"format": check_format, "shellcheck": check_scripts}


def findings(root, exceptions):
    """What the rules refuse in the tree at `root`, as lines `path:line: [rule] message`."""
    tree = read_tree(root)
    unused = set(exceptions)
    lines = []
    all_rules = [(name, rule(tree)) for name, rule in TREE_RULES.items()]
    all_rules += [(name, rule(tree, root)) for name, rule in TOOL_RULES.items()]
    for name, refused in all_rules:
        for path, number, message in refused:
            if (name, path) in exceptions:
                unused.discard((name, path))
            else:
                lines.append(f"{path}:{number}: [{name}] {message}")
    lines += [f"{path}:1: [{name}] exception is no longer needed" for name, path in sorted(unused)]
    return sorted(set(lines))
