#!/usr/bin/env python3
"""Adds up what Bazel reported: count_results.py [--failure=WHY...] [--skips-fail] EVENTS.json...

EVENTS are files of --build_event_json_file. Prints what failed and where its log is, then
`K skipped: why`, then `N passed, M failed`. A test counts once, and so does a target that did not
build. A test tells of a skip by GTEST_SKIP(), or, if it is a script, by a line `SKIPPED: why`.
"""

import argparse
import collections
import json
import re
import sys
import urllib.parse
import xml.etree.ElementTree


def local_path(uri):
    return urllib.parse.unquote(urllib.parse.urlparse(uri).path)


def skips_of(outputs):
    """The reasons for which parts of one test were skipped, from its gtest report and its log."""
    reasons = []
    if "test.xml" in outputs:
        try:
            report = xml.etree.ElementTree.parse(outputs["test.xml"])
        except (OSError, xml.etree.ElementTree.ParseError):
            report = None  # A test that died wrote half of it, and is counted as failed.
        for skipped in report.iter("skipped") if report else []:
            # gtest puts "file:line" in front of the reason.
            reasons.append((skipped.get("message") or "no reason given").split("\n", 1)[-1].strip())
    if "test.log" in outputs:
        with open(outputs["test.log"], encoding="utf-8", errors="replace") as log:
            reasons += re.findall(r"^SKIPPED: (.*)", log.read(), re.MULTILINE)
    return reasons


class Results:
    def __init__(self):
        self.passed = set()
        self.failures = {}  # What failed -> why, or where its log is.
        self.skips = collections.Counter()

    def add_file(self, path):
        config = path.rsplit("/", 1)[-1].removesuffix(".json")
        aborts = []
        finish = "SUCCESS"
        with open(path, encoding="utf-8") as events:
            for line in events:
                event = json.loads(line)
                if "finished" in event:
                    finish = event["finished"].get("exitCode", {}).get("name", "SUCCESS")
                elif "aborted" in event:
                    aborts.append(event)
                else:
                    self.add_event(event, config)
        for event in aborts:
            self.add_abort(event, config)
        # A BUILD file that does not load may leave no event of its own.
        explained = any(name.endswith(f"({config})") for name in self.failures)
        if finish not in ("SUCCESS", "NO_TESTS_FOUND") and not explained:
            self.failures[f"bazel ({config})"] = f"{finish}: see its messages above"

    def add_event(self, event, config):
        identity = event["id"]
        if "testSummary" in event:
            name = f"{identity['testSummary']['label']} ({config})"
            status = event["testSummary"]["overallStatus"]
            if status == "PASSED":
                self.passed.add(name)
            else:
                logs = [local_path(log["uri"]) for log in event["testSummary"].get("failed", [])]
                self.failures[name] = " ".join([status] + logs)
        elif "testResult" in event:
            files = event["testResult"].get("testActionOutput", [])
            outputs = {file["name"]: local_path(file["uri"]) for file in files if "uri" in file}
            label = identity["testResult"]["label"]
            self.skips.update(f"{label}: {reason}" for reason in skips_of(outputs))
        elif "targetCompleted" in identity and not event.get("completed", {}).get("success"):
            name = f"{identity['targetCompleted']['label']} ({config})"
            self.failures.setdefault(name, "did not build")

    def add_abort(self, event, config):
        """A target that never got to run. Fuzzers outside config fuzz are no loss: SKIPPED."""
        identity = event["id"]
        reason = event["aborted"].get("reason", "UNKNOWN")
        label = next((value["label"] for value in identity.values() if "label" in value), None)
        if reason == "SKIPPED" or label is None:
            return
        # A build setting that the config names (//tools/bazel:simulate) is announced like a target
        # and never configured: Bazel closes that with an abort that says nothing. What fails has a
        # reason.
        if "targetConfigured" in identity and not event["aborted"]:
            return
        self.failures.setdefault(f"{label} ({config})", f"did not build: {reason}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--failure", action="append", default=[])
    parser.add_argument("--skips-fail", action="store_true")
    parser.add_argument("events", nargs="+")
    options = parser.parse_args()

    results = Results()
    for path in options.events:
        results.add_file(path)
    for failure in options.failure:
        results.failures[failure] = "see its messages above"
    if options.skips_fail:
        results.failures.update((why, "skipped") for why in results.skips)

    print()
    for name, why in sorted(results.failures.items()):
        print(f"FAILED {name}: {why}")
    skips = [f"{why} ({count})" if count > 1 else why for why, count in results.skips.items()]
    print(f"{results.skips.total()} skipped: {'; '.join(skips) or 'none'}")
    print(f"{len(results.passed)} passed, {len(results.failures)} failed")
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
