"""Kinds of text: what each field may hold, and how text is shown."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcp.lean.text import (
    fault_of_lines,
    fault_of_name,
    interface_name,
    is_plain,
    option_text,
    printable,
    printable_lines,
)

ANY = st.text(st.characters())
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")


@given(ANY)
def test_shown_text_is_for_every_terminal(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode()
    assert printable(shown) == shown
    assert printable_lines(text) == "\n".join(printable(line) for line in text.split("\n"))


@given(ANY)
def test_a_name_is_what_clients_take(text: str) -> None:
    assert (fault_of_name(text) == "") == (len(text) <= 253 and all(NAME.fullmatch(label) for label in text.split(".")))


@given(ANY)
def test_plain_text_can_be_encoded_and_has_no_control_characters(text: str) -> None:
    controls = {chr(n) for n in (*range(0x20), *range(0x7F, 0xA0), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF)}
    assert is_plain(text) == controls.isdisjoint(text)
    assert (fault_of_lines(text) == "") == (controls - set("\t\r\n")).isdisjoint(text)


@pytest.mark.parametrize("text", ["eth0", "a:b", "", ".", "..", "a/b", "a b", "é" * 7, "é" * 8, "e\udcff"])
def test_names_of_interfaces_are_octets(text: str) -> None:
    if text in ("eth0", "é" * 7, "e\udcff"):
        assert interface_name(text) == text
    else:
        with pytest.raises(ValueError, match="is not the name of an interface"):
            interface_name(text)


@pytest.mark.parametrize("text", ["", "a b", "a\n", "é", "\udcff", "a" * 256])
def test_option_texts(text: str) -> None:
    assert option_text("http://[fd00::1]/a?b") == "http://[fd00::1]/a?b"
    with pytest.raises(ValueError, match="printable ASCII") as refusal:
        option_text(text)
    assert str(refusal.value).isprintable()
