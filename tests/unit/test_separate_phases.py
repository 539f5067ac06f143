"""A set-up in parts: where the state directory is, what a server is called, what the page says of a pod."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from dhcp.daemon.registration import is_random_name, random_name, sockets_named
from launcher import cli
from netsetup.kernel import netns

PAGE = Path(__file__).parents[2] / "docs/privileges.md"


@pytest.mark.parametrize(
    ("user", "shared", "own", "expected"),
    [
        (0, "missing", "", "{root}/shared/net-{number}"),
        (107, "writable", "own", "{root}/shared/net-{number}"),
        (107, "there", "own", "{root}/shared/net-{number}"),
        (107, "closed", "own", "{root}/own/virt-launcher/net-{number}"),
        (107, "closed", "", "/tmp/virt-launcher-107-{number}"),
        (107, "closed", "missing", "/tmp/virt-launcher-107-{number}"),
    ],
)
def test_the_state_directory_of_a_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, shared: str, own: str, expected: str
) -> None:
    number = os.stat(netns.SELF).st_ino
    (tmp_path / "own").mkdir()
    folder = tmp_path / "shared"
    if shared != "missing":
        folder.mkdir()
    if shared == "there":
        (folder / f"net-{number}").mkdir()
    writable = {str(tmp_path / "own"), *([str(folder)] if shared == "writable" else [])}
    monkeypatch.setattr(netns, "STATE_ROOT", str(folder))
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(os, "access", lambda path, _mode, **_: path in writable)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / own) if own else "")
    assert netns.state_directory() == expected.format(root=tmp_path, number=number)
    assert netns.state_directory("elsewhere") == "elsewhere"


def test_a_servers_name_is_told_from_any_other_text() -> None:
    name = random_name()
    assert is_random_name(name)
    assert name != random_name()
    address, port = sockets_named(name)
    assert address == b"\0" + name.encode()
    assert 1 << 30 <= port < 1 << 31
    for other in ("", "virt-launcher/dhcp", name[:-1], f"{name}0", name.upper(), name.replace(name[-1], "g")):
        assert not is_random_name(other)


def test_the_pod_of_the_page() -> None:
    """Each container has a verb that there is, and no more than it needs."""
    (text,) = (part.partition("```")[0] for part in PAGE.read_text().split("```yaml\n")[1:])
    spec = yaml.safe_load(text)["spec"]
    containers = [*spec["initContainers"], *spec["containers"]]
    parsed = [cli._parser(words).parse_args(words) for words in (container["args"] for container in containers)]
    assert [vars(options).get("phase") for options in parsed] == ["network", None, "domain"]
    owner = parsed[0].owner
    last = containers[-1]["securityContext"]
    assert (last["runAsUser"], last["runAsGroup"]) == (owner.uid, owner.gid)
    assert spec["securityContext"]["fsGroup"] == owner.gid
    rights = [container["securityContext"]["capabilities"] for container in containers]
    assert [right["drop"] for right in rights] == [["ALL"]] * 3
    assert [right.get("add") for right in rights] == [["NET_ADMIN"], ["NET_RAW"], None]
