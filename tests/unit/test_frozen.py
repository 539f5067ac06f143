"""Records without `dataclasses` are dataclasses to everybody who asks."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import subprocess
import sys

import msgspec
import pytest

from dhcp.lean.frozen import Frozen, as_dict, replace


class Segment(Frozen):
    """Has a record in it, defaults and a property."""

    start: Place
    """A docstring."""
    ends: tuple[Place, ...] = ()
    name: str = ""

    @property
    def count(self) -> int:
        return len(self.ends)


class Place(Frozen):
    x: int
    y: int = 7


class Nothing(Frozen):
    """Has no field."""


SEGMENT = Segment(Place(1), (Place(2, 3), Place(4)), name="a")


def test_one_without_fields_is_a_value() -> None:
    assert Nothing() == Nothing()
    assert hash(Nothing()) == hash(Nothing())


def test_fields_are_matched_by_position() -> None:
    match SEGMENT:
        case Segment(Place(x, y), ends, name=name):
            assert (x, y, len(ends), name) == (1, 7, 2, "a")
        case _:
            pytest.fail("not matched")


def test_a_changed_record_is_another() -> None:
    assert replace(SEGMENT, name="b") == Segment(SEGMENT.start, SEGMENT.ends, "b")
    assert dataclasses.replace(SEGMENT, name="b") == replace(SEGMENT, name="b")
    with pytest.raises(TypeError, match="unexpected z"):
        replace(SEGMENT, z=1)


def test_dataclasses_sees_the_fields() -> None:
    assert dataclasses.is_dataclass(Segment)
    assert [field.name for field in dataclasses.fields(SEGMENT)] == ["start", "ends", "name"]
    places = {"start": {"x": 1, "y": 7}, "ends": ({"x": 2, "y": 3}, {"x": 4, "y": 7})}
    assert dataclasses.asdict(SEGMENT) == {**places, "name": "a"}
    assert as_dict(SEGMENT) == {"start": Place(1), "ends": SEGMENT.ends, "name": "a"}
    assert dataclasses.fields(Nothing) == dataclasses.fields(Frozen) == ()
    assert len(dataclasses.fields(Place)) == 2


def test_msgspec_makes_them_from_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(SEGMENT), type=Segment) == SEGMENT
    with pytest.raises(msgspec.ValidationError, match=r"Expected `int`, got `str` - at `\$.start.x`"):
        msgspec.convert({"start": {"x": "1"}}, Segment)
    with pytest.raises(msgspec.ValidationError, match="missing required field `start`"):
        msgspec.convert({}, Segment)


def test_copies_are_equal() -> None:
    assert copy.deepcopy(SEGMENT) == pickle.loads(pickle.dumps(SEGMENT)) == SEGMENT


def test_making_one_imports_nothing() -> None:
    program = (
        "import sys; before = set(sys.modules)\n"
        "from dhcp.lean.frozen import Frozen\n"
        "class Place(Frozen):\n    x: int\n"
        "Place(1); print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"__future__", "_operator", "dhcp", "dhcp.lean", "dhcp.lean.frozen"}
