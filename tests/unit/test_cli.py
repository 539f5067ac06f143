"""The command line: only the verb that is asked for has its parser made, which nobody notices."""

from __future__ import annotations

import pytest

from launcher import cli


def printed(capsys: pytest.CaptureFixture[str], *words: str, of: str = "") -> str:
    """What the program prints about `words`, or the parser that was made for another verb, `of`."""
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
    assert [verb for verb in cli.VERBS if f"'{verb}'" not in text] == []


@pytest.mark.parametrize(("columns", "width"), [("", cli.HELP_WIDTH), ("0", cli.HELP_WIDTH), ("60", 60), ("x", 100)])
def test_width_of_the_help(
    columns: str, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = printed(capsys, "prestart", "--help").splitlines()
    assert width * 0.8 < max(map(len, lines)) <= width
