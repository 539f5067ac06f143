"""The entrypoint's own parts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.container import reading
from launcher.vmi import load
from launcher.vmi.errors import ManifestError
from launcher.vmi.load import load_vmi

MANIFEST = """
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {name: testvm}
spec:
  domain:
    memory: {guest: 128Mi}
    devices: {interfaces: [{name: default, bridge: {}, macAddress: 52:54:00:12:34:56}]}
  networks: [{name: default, pod: {}}]
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "vmi.yaml"
    path.write_text(MANIFEST)
    return path


def test_the_manifest_is_read_beside_other_work(manifest: Path) -> None:
    done: list[int] = []
    assert reading.read_vmi(str(manifest), None, lambda: done.append(os.getpid())) == load_vmi(manifest)
    assert done == [os.getpid()]


def test_the_manifest_may_come_from_a_pipe() -> None:
    read, write = os.pipe()
    os.write(write, MANIFEST.encode())
    os.close(write)
    assert reading.read_vmi(f"/dev/fd/{read}", None, lambda: None).name == "testvm"
    os.close(read)


def test_what_is_wrong_with_it_is_raised(manifest: Path) -> None:
    manifest.write_text(MANIFEST.replace("128Mi", "some"))
    with pytest.raises(ManifestError) as expected:
        load_vmi(manifest)
    with pytest.raises(ManifestError) as raised:
        reading.read_vmi(str(manifest), None, lambda: None)
    assert (raised.value.path, raised.value.reason) == (expected.value.path, expected.value.reason)
    assert str(raised.value) == str(expected.value)


def test_a_defect_shows_itself(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_path: str, _name: str | None) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(load, "load_vmi", fail)
    with pytest.raises(ZeroDivisionError):
        reading.read_vmi(str(manifest), None, lambda: None)
