"""The command line as a person meets it: help, and what is said about bad usage.

Only the verb that is asked for has its parser made, which nobody notices.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from importlib.metadata import version

import pytest

from launcher import cli, logs
from launcher.exit_codes import FAILED, exit_code_of
from launcher.verbs.parsers import HELP_WIDTH


def virt_launcher(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "launcher", *words], capture_output=True, text=True)


def printed(capsys: pytest.CaptureFixture[str], *words: str, of: str = "") -> str:
    """What the program prints about `words`, or the parser that was made for another verb, `of`."""
    logs.configure("text")
    with pytest.raises(SystemExit):
        cli._parser([of] if of else words).parse_args(words)
    output = capsys.readouterr()
    return output.out + output.err


@pytest.mark.parametrize("verb", cli.VERBS)
def test_a_verb_alone_has_the_same_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    alone = printed(capsys, verb, "--help")
    assert alone == printed(capsys, verb, "--help", of="all")
    assert alone.startswith(f"usage: virt-launcher {verb} ")


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--help")
    assert [verb for verb in cli.VERBS if f"\n    {verb} " not in text] == []


def test_an_unknown_verb_is_told_all(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "prestrat")
    assert text.startswith("virt-launcher: error: argument VERB: invalid choice: 'prestrat'")
    chosen = re.search(r"\(choose from (.*)\)", text)  # argparse quotes them up to Python 3.12
    assert chosen
    assert chosen[1].replace("'", "").split(", ") == list(cli.VERBS)


@pytest.mark.parametrize(("columns", "width"), [("", HELP_WIDTH), ("0", HELP_WIDTH), ("60", 60), ("x", 100)])
def test_width_of_the_help(
    columns: str, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = printed(capsys, "prestart", "--help").splitlines()
    assert width * 0.8 < max(map(len, lines)) <= width


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "the following arguments are required: VERB; see virt-launcher --help"),
        (("nonsense",), r"argument VERB: invalid choice: 'nonsense' \(.*prestart.*\); see virt-launcher --help"),
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


def test_bad_usage_is_a_line_of_a_json_log() -> None:
    for words in (("status", "--log-format", "json", "--no-such"), ("--log-format=json", "status")):
        completed = virt_launcher(*words)
        (line,) = completed.stderr.splitlines()
        record = json.loads(line)
        assert (completed.returncode, record["level"], record["logger"]) == (2, "error", "launcher")
        assert record["message"].startswith("unrecognized arguments: --")


def test_version() -> None:
    completed = virt_launcher("--version")
    assert completed.stdout == f"virt-launcher {version('virt-launcher')}\n"
    assert (completed.returncode, completed.stderr) == (0, "")


@pytest.mark.parametrize("verbose", [False, True])
def test_a_defect_is_one_line(verbose: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """With its traceback in JSON, or as text if debug messages are wanted."""
    for style in ("json", "text"):
        logs.configure(style, verbose, with_time=True)
        assert exit_code_of(lambda: 1 // 0) == FAILED
        thread = threading.Thread(target=lambda: 1 // 0, name="worker")
        thread.start()
        thread.join()
    own, ended, *text = capsys.readouterr().err.splitlines()
    assert json.loads(own)["message"] == "ZeroDivisionError: integer division or modulo by zero"
    assert json.loads(ended)["message"] == "thread worker has ended: integer division or modulo by zero"
    assert "Traceback" in json.loads(own)["traceback"]
    said = [line for line in text if re.match(r"\d{4}-\d\d-\d\dT\S+Z virt-launcher: critical: ", line)]
    assert len(said) == 2
    assert verbose or said == text


def test_help_lists_the_verbs() -> None:
    completed = virt_launcher("--help")
    assert (completed.returncode, completed.stderr) == (0, "")
    assert completed.stdout.startswith("usage: virt-launcher [-h] [--version] VERB ...\n")
    assert re.findall(r"^    (\w+)  ", completed.stdout, re.MULTILINE) == list(cli.VERBS)


@pytest.mark.parametrize("verb", cli.VERBS)
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
