"""The command line as a person meets it: help, and what is said about bad usage."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

VERBS = {"prestart", "teardown", "run", "demo"}


def virt_launcher(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "launcher", *words], capture_output=True, text=True)


def listed_verbs() -> list[str]:
    return re.findall(r"^    (\w+)  ", virt_launcher("--help").stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "the following arguments are required: VERB; see virt-launcher --help"),
        (("nonsense",), r"argument VERB: invalid choice: 'nonsense' \(.*'prestart'.*\); see virt-launcher --help"),
        (("run",), "the following arguments are required: --vmi; see virt-launcher run --help"),
        (("run", "--vmi"), "argument --vmi: expected one argument; see virt-launcher run --help"),
        (("prestart", "--output", "xml"), r"argument --output: invalid choice: 'xml' \(.*\); see virt-launcher .*"),
        (("teardown", "--log-format", "xml"), r"argument --log-format: invalid choice: 'xml' .*"),
        (("prestart", "--no-such"), "unrecognized arguments: --no-such; see virt-launcher --help"),
        (("teardown", "eth0"), "unrecognized arguments: eth0; see virt-launcher --help"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_usage_is_one_line(words: tuple[str, ...], message: str) -> None:
    completed = virt_launcher(*words)
    assert (completed.returncode, completed.stdout) == (2, "")
    assert re.fullmatch(f"virt-launcher: error: {message}\n", completed.stderr), completed.stderr


def test_help_lists_the_verbs() -> None:
    completed = virt_launcher("--help")
    assert (completed.returncode, completed.stderr) == (0, "")
    assert completed.stdout.startswith("usage: virt-launcher [-h] VERB ...\n")
    assert set(listed_verbs()) >= VERBS


@pytest.mark.parametrize("verb", listed_verbs())
def test_help_explains_every_option_of_a_verb(verb: str) -> None:
    completed = virt_launcher(verb, "--help")
    assert (completed.returncode, completed.stderr) == (0, "")
    usage, _, options = completed.stdout.partition("\n\n")
    assert usage.startswith(f"usage: virt-launcher {verb} [-h]")
    names = set(re.findall(r"--[\w-]+", usage))
    assert names >= {"--log-format", "--verbose"}
    # the option, its value, and, on the same line or the next, what it is for
    explained = re.findall(r"^  (--[\w-]+)(?: \S+)?(?: {2,}|\n {20,})\S", options, re.MULTILINE)
    assert set(explained) == names
