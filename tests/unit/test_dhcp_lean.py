"""What stands in for dataclasses and json behaves like them where it is used."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhcp.lean import json as jsontext
from dhcp.lean.frozen import Frozen

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


class Point(Frozen):
    """A record for the tests."""

    x: int
    y: int = 7

    def sum(self) -> int:
        """A method."""
        return self.x + self.y


def test_records_are_values() -> None:
    assert Point(1) == Point(1, 7) == Point(x=1, y=7)
    assert Point(1) != Point(2)
    assert Point(1) != (1, 7)
    assert hash(Point(1)) == hash(Point(1))
    assert repr(Point(1)) == "Point(x=1, y=7)"
    assert Point(1).sum() == 8
    assert not hasattr(Point(1), "__dict__")


@pytest.mark.parametrize(("args", "named"), [((), {}), ((1, 2, 3), {}), ((1,), {"x": 2}), ((1,), {"z": 2})])
def test_records_want_their_fields(args: tuple[int, ...], named: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="Point"):
        Point(*args, **named)


def test_records_do_not_change() -> None:
    point: Any = Point(1)
    with pytest.raises(AttributeError, match="read-only"):
        point.x = 2
    with pytest.raises(AttributeError, match="read-only"):
        del point.x


@given(JSON)
def test_json_is_that_of_the_standard_library(value: object) -> None:
    assert json.loads(jsontext.dumps(value)) == value
    assert jsontext.loads(json.dumps(value, ensure_ascii=False)) == value
    assert jsontext.loads(json.dumps(value, indent=2).encode()) == value


@pytest.mark.parametrize("text", ["", " ", "{", "[1,]", "{'a': 1}", "1 2", "nul", "NaN", "[Infinity]", "[" * 100_000])
def test_what_is_not_json(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the standard library's own message
        jsontext.loads(text)


def test_only_what_the_server_needs_is_imported() -> None:
    """None of the modules that cost more than the server itself, and nothing of its neighbours."""
    program = (
        "import sys; sys.path.append(sys.argv[1]); import dhcp.daemon.main, dhcp.daemon.args, dhcp.process;"
        "print(*sorted(name for name in sys.modules))"
    )
    directory = jsontext.__file__.rpartition("/dhcp/")[0]
    printed = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, directory], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"dataclasses", "enum", "typing", "re", "json", "socket", "ctypes", "ipaddress", "collections", "logging"}
    foreign = {"pyroute2", "libvirt", "scapy", "netsetup", "launcher", "msgspec", "yaml"}
    assert not (heavy | foreign) & set(printed)


@pytest.mark.parametrize("text", ["{", "[1", '"', "x", "[NaN]"])
def test_what_is_not_json_is_said_without_the_json_module_too(text: str) -> None:
    program = (
        "import sys; sys.path.append(sys.argv[1])\n"
        "from dhcp.lean.json import loads\n"
        "try: loads(sys.argv[2])\n"
        "except ValueError as error: print(error)"
    )
    directory = jsontext.__file__.rpartition("/dhcp/")[0]
    command = [sys.executable, "-I", "-S", "-c", program, directory, text]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
