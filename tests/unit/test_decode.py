"""Records that are read back: as they were written, or refused by the path of what is not as it should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.scenes import address, eth0
from lab.vmnetworks import bridged

from dhcp.lean.frozen import as_dict, replace
from dhcp.lean.json import dumps, loads
from netsetup.errors import InvalidRequest
from netsetup.kernel import state_files
from netsetup.migration import migrate
from netsetup.model.decode import Mismatch, decode
from netsetup.model.pod_interface import PodInterface, Resolver
from netsetup.model.vm_network import GuestOptions
from netsetup.record import Record, require_readable

RECORDS = sorted((Path(__file__).parent.parent / "records").glob("*.json"))


def record(**options: Any) -> Record:
    pod = PodInterface(eth0(), (address("10.244.1.3/24"),), resolver=Resolver(("10.96.0.10",)))
    return Record("boot", 1, {"default": bridged(pod, options=GuestOptions(**options))})


def written(record: Record) -> Any:
    return loads(dumps(record, default=as_dict))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_it_is_what_msgspec_makes_of_it(path: Path) -> None:
    content = json.loads(path.read_text())
    content = loads(dumps(migrate(content) if content["version"] < 3 else content))
    found = decode(Record, content)
    assert found == msgspec.convert(content, Record)
    assert decode(Record, written(found)) == found


@pytest.mark.parametrize(
    ("steps", "value", "error"),
    [
        (["version"], "3", "version: is not int but str"),
        (["version"], True, "version: is not int but bool"),
        (["networks"], [], "networks: is not dict but list"),
        (["networks", "default"], None, "networks.default: is not dict but NoneType"),
        (["networks", "default", "pod", "addresses"], "a", "networks.default.pod.addresses: is not list but str"),
        (["networks", "default", "pod", "addresses", 0, "address"], None, "addresses[0].address: is not str but None"),
        (["networks", "default", "options", "private"], [[1]], "options.private[0]: has 1 elements, not 2"),
        (["networks", "default", "guest"], {}, "networks.default.guest: Guest: missing mac"),
        (["sysctls"], [["a", 1]], "sysctls[0][1]: is not str but int"),
    ],
)
def test_what_is_not_as_it_should_be_is_named(steps: list[Any], value: object, error: str) -> None:
    content = written(record())
    inner = content
    for step in steps[:-1]:
        inner = inner[step]
    inner[steps[-1]] = value
    with pytest.raises(Mismatch) as refusal:
        decode(Record, content)
    assert error in str(refusal.value)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(content, Record)


def test_fields_of_a_later_program_are_ignored_and_those_with_a_default_may_be_missing() -> None:
    content = written(record())
    content["networks"]["default"]["later"] = 1
    del content["networks"]["default"]["isolated"], content["sysctls"]
    assert decode(Record, content) == record()


@given(st.text(st.characters()), st.text(st.characters()))
def test_any_text_is_read_back_as_it_was_or_refused(name: str, value: str) -> None:
    one = record(hostname=name, boot_file=value, private=((224, name),))
    if decode(Record, written(one)) == one:
        require_readable(one)
    else:
        with pytest.raises(InvalidRequest) as refusal:
            require_readable(one)
        assert str(refusal.value).isprintable()


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"hostname": b"vm"}, "b'vm' is neither text nor a number"),
        ({"hostname": None}, "networks.default.options.hostname: is not str but NoneType"),
        ({"hostname": "\ud800\udc00"}, "networks.default.options.hostname: cannot be written down"),
        ({"ntp": ["192.0.2.1"]}, "networks.default.options.ntp: cannot be written down"),
        ({"private": ((224, "\ud83d\ude00"),)}, "networks.default.options.private.0.1: cannot be written down"),
    ],
)
def test_what_would_not_be_read_back_is_refused_by_its_path(options: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        require_readable(record(**options))
    assert path in str(refusal.value)


def test_what_is_no_setting_of_an_interface_is_refused_before_it_is_written() -> None:
    with pytest.raises(InvalidRequest, match="is no setting of an interface"):
        require_readable(replace(record(), sysctls=(("../tmp/x", "1"),)))


def test_a_record_that_is_larger_than_what_is_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netsetup.record.LARGEST", 1000)
    with pytest.raises(InvalidRequest, match=r"bytes are more than is read back \(1000\)"):
        require_readable(record())
    assert state_files.LARGEST > 1000
