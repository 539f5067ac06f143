"""Which pod interface a network has by Multus' network-status annotation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launcher.request import SetupRequest
from launcher.vmi.model import InterfaceSpec
from launcher.vmi.network_status import with_network_status
from netsetup.errors import InvalidRequest

PRIMARY = {"name": "cbr0", "interface": "eth0", "ips": ["10.244.1.3"], "mac": "0a:58:0a:f4:01:03", "default": True}
BLUE = {"name": "default/blue", "interface": "pod16477688c0e", "mac": "02:00:00:00:00:01"}
DEFAULT = InterfaceSpec("default")


def secondary(name: str, network: str, pod_interface: str | None = None) -> InterfaceSpec:
    return InterfaceSpec(name, pod_network=False, multus_network=network, pod_interface=pod_interface)


def named(folder: Path, entries: object, *interfaces: InterfaceSpec) -> dict[str, str | None]:
    file = folder / "network-status"
    file.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    request = with_network_status(SetupRequest.of(*interfaces), file)
    return {name: interface.pod_interface for name, interface in request.interfaces.items()}


def test_networks_by_their_definitions(tmp_path: Path) -> None:
    red = {"name": "other/red", "interface": "net7"}
    interfaces = (secondary("r", "other/red"), DEFAULT, secondary("b", "blue"))
    found = named(tmp_path, [PRIMARY, BLUE, red], *interfaces)
    assert found == {"r": "net7", "default": "eth0", "b": "pod16477688c0e"}


def test_one_network_attached_twice(tmp_path: Path) -> None:
    second = BLUE | {"interface": "net2"}
    found = named(tmp_path, [PRIMARY, BLUE, second], secondary("a", "blue"), secondary("b", "default/blue"))
    assert found == {"a": "pod16477688c0e", "b": "net2"}


def test_what_the_manifest_names_comes_first(tmp_path: Path) -> None:
    assert named(tmp_path, [BLUE], secondary("b", "blue", "net9")) == {"b": "net9"}


@pytest.mark.parametrize("entries", ["", "\n", [], [PRIMARY], [{"name": "elsewhere/green", "interface": "net1"}], [{}]])
def test_a_network_without_an_entry_has_its_name_by_scheme(tmp_path: Path, entries: object) -> None:
    assert named(tmp_path, entries, secondary("b", "blue")) == {"b": None}


def test_a_network_that_replaces_the_pod_network(tmp_path: Path) -> None:
    """Its entry is the default one, whatever its name."""
    primary = InterfaceSpec("p", pod_network=False, multus_network="ovn", multus_default=True)
    assert named(tmp_path, [{"name": "ns/ovn", "interface": "ovn-udn1", "default": True}], primary) == {"p": "ovn-udn1"}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("{", "must be the JSON array"),
        ({"name": "a"}, "must be the JSON array"),
        (["a"], "must be the JSON array"),
        ("[" * 100_000, "must be the JSON array"),
        ([BLUE | {"interface": "a/b"}], "interface of default/blue: 'a/b' is not the name of an interface"),
        ([BLUE | {"interface": ["x"] * 9}], "interface of default/blue: "),
    ],
)
def test_what_is_no_such_annotation(tmp_path: Path, entries: object, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        named(tmp_path, entries, secondary("b", "blue"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="No such file or directory; name the file of the network-status"):
        with_network_status(SetupRequest.default(), tmp_path / "absent")
