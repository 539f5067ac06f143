"""Volumes: what a manifest says, what is found below the folder of volumes, and what is made of it."""

from __future__ import annotations

import base64
import io
import json
import os
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from pycdlib import PyCdlib

from launcher.machine.disk_images import DiskImage
from launcher.vmi.errors import ManifestError
from launcher.vmi.load import load_document, load_vmi
from launcher.vmi.model import Disk, Firmware, VirtualMachineInstance
from launcher.volumes import storage as storage_module
from launcher.volumes.iso import iso_image
from launcher.volumes.model import SeedFile
from launcher.volumes.storage import Storage, StorageError

SHARED: dict[str, Any] = {"filesystems": [{"name": "v", "virtiofs": {}}]}
USER_DATA = "#cloud-config\npassword: of-the-user\n"


def load(
    *volumes: dict[str, Any],
    disks: list[dict[str, Any]] | None = None,
    keys: str = "",
    devices: dict[str, Any] | None = None,
) -> VirtualMachineInstance:
    """A VM with these volumes, disks or devices, and the keys of a Secret for cloud-init by that method."""
    key = {"source": {"secret": {"secretName": "keys"}}, "propagationMethod": {keys: {}}}
    return load_document(
        {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachineInstance",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {
                "hostname": "front",
                "domain": {"memory": {"guest": "1Gi"}, "devices": devices or {"disks": disks or []}},
                "volumes": list(volumes),
                "accessCredentials": [{"sshPublicKey": key}] if keys else [],
            },
        }
    )


def read_iso(path: str) -> tuple[str, dict[str, bytes]]:
    """Label and files, by their names in Rock Ridge, which are those in Joliet too."""
    iso = PyCdlib()
    iso.open(path)
    files, names = {}, {}
    for view in ("rr_path", "joliet_path"):
        names[view] = {
            f"{folder.rstrip('/')}/{name}".strip("/") for folder, _, found in iso.walk(**{view: "/"}) for name in found
        }
    assert names["rr_path"] == names["joliet_path"]
    for name in names["rr_path"]:
        content = io.BytesIO()
        iso.get_file_from_iso_fp(content, rr_path=f"/{name}")
        files[name] = content.getvalue()
    label = iso.pvd.volume_identifier.decode().strip()
    iso.close()
    return label, files


def made(
    vmi: VirtualMachineInstance, root: Path, given: Mapping[str, Path] = MappingProxyType({})
) -> dict[str, DiskImage]:
    return Storage(vmi, given, state_dir=root / "state", folder=root / "volumes").make()


def mount(root: Path, name: str, **files: str) -> Path:
    """A Secret or ConfigMap as the kubelet mounts it."""
    folder = root / "volumes" / name
    (folder / "..2026").mkdir(parents=True)
    (folder / "..data").symlink_to("..2026")
    for key, content in files.items():
        (folder / "..2026" / key).write_text(content)
        (folder / key).symlink_to(f"..data/{key}")
    return folder


# Seeds


def test_seed_of_no_cloud(tmp_path: Path) -> None:
    vmi = load({"name": "init", "cloudInitNoCloud": {"userData": USER_DATA, "networkData": "version: 2\n"}})
    image = made(vmi, tmp_path)["init"]
    label, files = read_iso(image.path)
    metadata = json.loads(files.pop("meta-data"))
    assert label == "cidata"
    assert metadata == {"instance-id": vmi.firmware.uuid, "local-hostname": "front"}
    assert files == {"user-data": USER_DATA.encode(), "network-config": b"version: 2\n"}


def test_seed_of_a_config_drive(tmp_path: Path) -> None:
    coded = base64.b64encode(b"\x1f\x8b\0").decode()
    vmi = load({"name": "init", "cloudInitConfigDrive": {"userDataBase64": f"{coded}\n", "networkData": "{}"}})
    label, files = read_iso(made(vmi, tmp_path)["init"].path)
    metadata = json.loads(files.pop("openstack/latest/meta_data.json"))
    assert label == "config-2"
    assert metadata == {"instance_id": "web.shop", "hostname": "front", "uuid": vmi.firmware.uuid}
    assert files == {"openstack/latest/user_data": b"\x1f\x8b\0", "openstack/latest/network_data.json": b"{}"}


def test_seed_is_secret_read_only_and_gone_after_the_vm(tmp_path: Path) -> None:
    vmi = load({"name": "init", "cloudInitNoCloud": {"userData": USER_DATA}})
    assert vmi.disks == (Disk("init", "cdrom", "sata", readonly=True),)
    assert "password" not in repr(vmi)
    storage = Storage(vmi, {}, state_dir=tmp_path)
    path = Path(storage.make()["init"].path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert storage.make()["init"].path == str(path), "what a run that was killed has left is made anew"
    storage.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["init", "the-secret"])
@pytest.mark.parametrize("key", ["userdata", "userData"])
def test_user_data_of_a_secret(tmp_path: Path, folder: str, key: str) -> None:
    mount(tmp_path, folder, **{key: USER_DATA})
    vmi = load({"name": "init", "cloudInitNoCloud": {"secretRef": {"name": "the-secret"}, "networkData": "x"}})
    _, files = read_iso(made(vmi, tmp_path)["init"].path)
    assert (files["user-data"], files["network-config"]) == (USER_DATA.encode(), b"x")


@pytest.mark.parametrize(
    ("source", "label"),
    [
        ({"configMap": {"name": "config"}}, "cfgdata"),
        ({"configMap": {"name": "config", "volumeLabel": "MyLabel"}}, "MyLabel"),
        ({"secret": {"secretName": "config"}}, "cfgdata"),
        ({"sysprep": {"configMap": {"name": "config"}}}, "unattendCD"),
        ({"downwardAPI": {"fields": [{"path": "a", "fieldRef": {"fieldPath": "metadata.name"}}]}}, "cfgdata"),
        ({"serviceAccount": {"serviceAccountName": "vm"}}, "cfgdata"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_seed_of_mounted_files(tmp_path: Path, source: dict[str, Any], label: str) -> None:
    mount(tmp_path, "files", **{"a": "1", "b.xml": "2"})
    assert read_iso(made(load({"name": "files", **source}), tmp_path)["files"].path) == (
        label,
        {"a": b"1", "b.xml": b"2"},
    )


def test_what_lies_beside_the_vm_in_its_file_is_taken(tmp_path: Path) -> None:
    (tmp_path / "vm.yaml").write_text(
        """
apiVersion: v1
kind: Secret
metadata: {name: login}
data: {userdata: I2Nsb3VkLWNvbmZpZwo=}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: answers}
data: {Autounattend.xml: <unattend/>}
---
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: web}
spec:
  template:
    spec:
      domain: {memory: {guest: 1Gi}, devices: {}}
      volumes:
      - {name: init, cloudInitNoCloud: {secretRef: {name: login}}}
      - {name: files, sysprep: {configMap: {name: answers}}}
"""
    )
    images = made(load_vmi(tmp_path / "vm.yaml"), tmp_path)
    assert read_iso(images["init"].path)[1]["user-data"] == b"#cloud-config\n"
    assert read_iso(images["files"].path) == ("unattendCD", {"Autounattend.xml": b"<unattend/>"})


@pytest.mark.parametrize("drive", ["noCloud", "configDrive"])
def test_public_keys(tmp_path: Path, drive: str) -> None:
    mount(tmp_path, "keys", alice="ssh-ed25519 A alice\n", bob="ssh-ed25519 B bob")
    kind = f"cloudInit{drive[0].upper()}{drive[1:]}"
    vmi = load({"name": "init", kind: {"userData": "x"}}, keys=drive)
    _, files = read_iso(made(vmi, tmp_path)["init"].path)
    told = json.loads(files["meta-data" if drive == "noCloud" else "openstack/latest/meta_data.json"])
    field = "public-keys" if drive == "noCloud" else "public_keys"
    assert told[field] == {"0": "ssh-ed25519 A alice", "1": "ssh-ed25519 B bob"}
    with pytest.raises(ManifestError, match=rf"sshPublicKey\.propagationMethod\.{drive}: needs a volume of cloud-init"):
        load(keys=drive)


def test_optional_files_may_be_missing(tmp_path: Path) -> None:
    vmi = load({"name": "files", "secret": {"secretName": "none", "optional": True}})
    assert read_iso(made(vmi, tmp_path)["files"].path) == ("cfgdata", {})


def test_mounted_files_that_lead_elsewhere_are_refused(tmp_path: Path) -> None:
    folder = mount(tmp_path, "files", a="1")
    (tmp_path / "other").write_text("of somebody else")
    (folder / "b").symlink_to(tmp_path / "other")
    with pytest.raises(ManifestError, match=r"^spec\.volumes\[0\]\.secret: .*/files/b leads to .*/other, which is not"):
        made(load({"name": "files", "secret": {"secretName": "x"}}), tmp_path)


def test_a_pipe_among_mounted_files_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(mount(tmp_path, "files", a="1") / "b")
    assert read_iso(made(load({"name": "files", "secret": {}}), tmp_path)["files"].path)[1] == {"a": b"1"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"cloudInitNoCloud": {}}, r"\.cloudInitNoCloud: needs userData or networkData"),
        ({"cloudInitNoCloud": {"userData": "a", "userDataBase64": "b"}}, r"must have one of userData, .* has several"),
        ({"cloudInitNoCloud": {"userDataBase64": "Not4Anyone!"}}, r"\.userDataBase64: is not base64: "),
        ({"cloudInitNoCloud": {"secretRef": {"name": "s"}}}, r"\.secretRef: its files are not there: .*/v or .*/s$"),
        ({"secret": {"secretName": "s"}}, r"\.secret: its files are not there"),
        ({"secret": {}, "configMap": {}}, r"spec\.volumes\[0\]: must have one source, has configMap and secret"),
        ({"sysprep": {}}, r"\.sysprep: must have one of configMap and secret"),
        ({"emptyDisk": {}}, r"\.emptyDisk\.capacity: is required"),
        ({"emptyDisk": {"capacity": "much"}}, r"\.capacity: `much` is not a quantity"),
        ({"hostDisk": {"path": "disk.img", "type": "Disk"}}, r"\.hostDisk\.path: must be an absolute path"),
        ({"hostDisk": {"path": "/d.img", "type": "File"}}, r"\.hostDisk\.type: must be one of Disk, DiskOrCreate"),
        ({"containerDisk": {"path": "/../x"}}, r"\.containerDisk\.path: must not have"),
        ({"memoryDump": {}}, r"\.memoryDump: is not supported"),
        ({"persistentVolumeClaim": {"claimName": "c"}}, r"`v` has no image: give --disk v=PATH, or mount it at .*/v$"),
        ({"nfs": {}}, r"spec\.volumes\[0\]\.nfs: is unknown"),
    ],
)
def test_refused(tmp_path: Path, source: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError, match=message) as refusal:
        made(load({"name": "v", **source}), tmp_path)
    assert "Not4Anyone" not in str(refusal.value)


@pytest.mark.parametrize(
    ("devices", "volume", "message"),
    [
        ({"filesystems": [{"name": "w", "virtiofs": {}}]}, {"secret": {}}, "no volume of spec.volumes is named `w`"),
        ({"filesystems": [{"name": "v"}]}, {"secret": {}}, r"filesystems\[0\]: needs a kind: give virtiofs"),
        ({"filesystems": 2 * [{"name": "v", "virtiofs": {}}]}, {"secret": {}}, r"filesystems\[1\]\.name: "),
        (SHARED, {"emptyDisk": {"capacity": "1Mi"}}, "`v` is no folder but emptyDisk: use persistentVolumeClaim, "),
        (SHARED | {"disks": [{"name": "v"}]}, {"secret": {}}, "`v` is one of the disks: remove it there"),
        (
            SHARED,
            {"persistentVolumeClaim": {"claimName": "c"}},
            "`v` has no folder: mount it at .*/v, or give --disk v",
        ),
        (SHARED, {"secret": {}}, r"\.secret: its files are not there"),
    ],
)
def test_file_systems_that_are_refused(
    tmp_path: Path, devices: dict[str, Any], volume: dict[str, Any], message: str
) -> None:
    with pytest.raises(ManifestError, match=message):
        made(load({"name": "v", **volume}, devices=devices), tmp_path)


def test_a_file_system_is_no_disk(tmp_path: Path) -> None:
    """Its folder is mounted, or given by its path."""
    vmi = load({"name": "v", "persistentVolumeClaim": {"claimName": "c"}}, devices=SHARED)
    assert (vmi.filesystems, vmi.disks) == (("v",), ())
    folder = mount(tmp_path, "v")
    for given in ({}, {"v": tmp_path}):
        storage = Storage(vmi, given, state_dir=tmp_path / "state", folder=tmp_path / "volumes")
        assert storage.make() == {}
        assert storage.folders == {"v": str(given.get("v", folder))}


def test_seed_with_names_of_any_length_and_depth(tmp_path: Path) -> None:
    names = ["a/b/c", "a/d", "k" * 200, "ü"]
    (tmp_path / "seed.iso").write_bytes(iso_image("l", [SeedFile(name, name.encode()) for name in names]))
    iso = PyCdlib()
    iso.open(str(tmp_path / "seed.iso"))
    for name in names:
        content = io.BytesIO()
        iso.get_file_from_iso_fp(content, rr_path=f"/{name}")
        assert content.getvalue() == name.encode()
    iso.close()


# Images


@pytest.mark.parametrize(
    ("file", "source", "kind"),
    [
        ("root", {"persistentVolumeClaim": {"claimName": "c"}}, "raw"),
        ("root.qcow2", {"dataVolume": {"name": "c"}}, "qcow2"),
        ("root/disk.img", {"persistentVolumeClaim": {"claimName": "c"}}, "raw"),
        ("root/disk/fedora.qcow2", {"dataVolume": {"name": "c"}}, "qcow2"),
        ("root/any.raw", {}, "raw"),
        ("root/data.img", {"hostDisk": {"path": "/var/lib/data.img", "type": "Disk"}}, "raw"),
    ],
)
def test_layouts(tmp_path: Path, file: str, source: dict[str, Any], kind: str) -> None:
    path = tmp_path / "volumes" / file
    path.parent.mkdir(parents=True)
    path.touch()
    assert made(load({"name": "root", **source}), tmp_path) == {"root": DiskImage(str(path), kind)}


def test_an_option_wins_over_what_is_mounted(tmp_path: Path) -> None:
    for path in (tmp_path / "volumes/root", tmp_path / "other.img"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    vmi = load({"name": "root", "containerDisk": {"image": "fedora"}})
    assert made(vmi, tmp_path, {"root": tmp_path / "other.img"}) == {"root": DiskImage(str(tmp_path / "other.img"))}


def test_several_images_are_not_chosen_from(tmp_path: Path) -> None:
    folder = tmp_path / "volumes/root/disk"
    folder.mkdir(parents=True)
    for name in ("a.img", "b.qcow2"):
        (folder / name).touch()
    with pytest.raises(ManifestError, match=r"`root` could be any of root/disk/a.img, root/disk/b.qcow2: give --disk"):
        made(load({"name": "root", "containerDisk": {}}), tmp_path)
    (folder / "a.img").unlink()
    image = made(load({"name": "root", "dataVolume": {}}), tmp_path)["root"]
    assert image == DiskImage(str(folder / "b.qcow2"), "qcow2")


@pytest.mark.parametrize("link", ["root", "root/disk.img", "root/disk", "root.img"])
def test_images_that_lead_elsewhere_are_refused(tmp_path: Path, link: str) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "disk.img").touch()
    path = tmp_path / "volumes" / link
    path.parent.mkdir(parents=True)
    path.symlink_to(other / "disk.img" if link.endswith(".img") else other)
    with pytest.raises(ManifestError, match=r" leads to .*/other.*, which is not within "):
        made(load({"name": "root", "dataVolume": {}}), tmp_path)


def test_an_empty_disk_takes_no_room(tmp_path: Path) -> None:
    image = made(load({"name": "scratch", "emptyDisk": {"capacity": "1000000001"}}), tmp_path)["scratch"]
    status = Path(image.path).stat()
    assert (status.st_size, status.st_blocks, image.format) == (1_000_000_512, 0, "raw")


def test_a_host_disk_is_made_once_and_stays(tmp_path: Path) -> None:
    (tmp_path / "volumes/data").mkdir(parents=True)
    disk = {"path": "/srv/data.img", "type": "DiskOrCreate", "capacity": "1Mi"}
    vmi = load({"name": "data", "hostDisk": disk})
    path = tmp_path / "volumes/data/data.img"
    storage = Storage(vmi, {}, state_dir=tmp_path / "state", folder=tmp_path / "volumes")
    assert not path.exists()
    assert storage.make() == {"data": DiskImage(str(path))}
    storage.remove()
    path.write_text("of the guest")
    assert made(vmi, tmp_path)["data"].path == str(path)
    assert path.read_text() == "of the guest"


def test_another_file_of_the_folder_is_no_host_disk(tmp_path: Path) -> None:
    (tmp_path / "volumes/data").mkdir(parents=True)
    (tmp_path / "volumes/data/of-another-vm.img").touch()
    with pytest.raises(ManifestError, match=r"hostDisk: `data` has no image"):
        made(load({"name": "data", "hostDisk": {"path": "/srv/data.img", "type": "Disk"}}), tmp_path)


def test_what_is_not_to_be_written_to_gets_an_overlay(tmp_path: Path) -> None:
    base = tmp_path / "volumes/root/disk/fedora.qcow2"
    base.parent.mkdir(parents=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", base, "8M"], check=True)
    image = made(load({"name": "root", "containerDisk": {}}), tmp_path)["root"]
    assert image == DiskImage(str(tmp_path / "state/volumes/root.qcow2"), "qcow2")
    described = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", image.path]))
    assert (described["backing-filename"], described["backing-filename-format"]) == (str(base), "qcow2")
    assert described["virtual-size"] == 8 << 20
    assert stat.S_IMODE(Path(image.path).stat().st_mode) == 0o600


@pytest.mark.parametrize(("readonly", "kind"), [(True, "qcow2"), (False, "raw")])
def test_a_header_says_the_format_where_nobody_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, readonly: bool, kind: str
) -> None:
    base = tmp_path / "volumes/root/disk.img"
    base.parent.mkdir(parents=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", base, "8M"], check=True)
    monkeypatch.setattr("launcher.machine.disk_images.is_mounted_readonly", lambda _: readonly)
    monkeypatch.setattr(storage_module, "is_mounted_readonly", lambda _: readonly)
    image = made(load({"name": "root", "ephemeral": {"persistentVolumeClaim": {"claimName": "c"}}}), tmp_path)["root"]
    described = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", image.path]))
    assert described["backing-filename-format"] == kind


def test_no_overlay_names_a_file_that_the_image_names(tmp_path: Path) -> None:
    base = tmp_path / "volumes/root.qcow2"
    base.parent.mkdir()
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", base], check=True)
    with pytest.raises(ManifestError, match=r"spec\.volumes\[0\]\.containerDisk: .* names a backing file"):
        made(load({"name": "root", "containerDisk": {}}), tmp_path)


def test_nothing_is_made_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "state").mkdir()
    (tmp_path / "state/volumes").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match=r"/state/volumes: is no folder of this user; remove it"):
        made(load({"name": "init", "cloudInitNoCloud": {"userData": USER_DATA}}), tmp_path)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_what_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state").write_text("no folder")
    vmi = load({"name": "scratch", "emptyDisk": {"capacity": "1Mi"}})
    with pytest.raises(StorageError, match=r"^/.*/state/volumes: Not a directory$"):
        made(vmi, tmp_path)
    base = tmp_path / "volumes/root"
    base.parent.mkdir()
    base.touch()
    (tmp_path / "state").unlink()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(StorageError, match=r"qemu-img, which makes an overlay for it, is missing: apt-get install"):
        made(load({"name": "root", "containerDisk": {}}), tmp_path)


def test_a_seed_is_no_lun() -> None:
    disks = [{"name": "init", "lun": {"bus": "scsi"}}]
    with pytest.raises(ManifestError, match=r"disks\[0\]\.lun: is for SCSI devices, which `init` is not"):
        load({"name": "init", "cloudInitNoCloud": {"userData": "x"}}, disks=disks)


def test_disks_of_a_library_user_have_no_volumes(tmp_path: Path) -> None:
    vmi = VirtualMachineInstance("vm", "default", 1 << 27, Firmware("3f2a6b52-7a07-4f64-9d6c-0e5f7b1c2d3e"))
    (tmp_path / "root.img").touch()
    vmi = replace(vmi, disks=(Disk("root"),))
    assert made(vmi, tmp_path, {"root": tmp_path / "root.img"}) == {"root": DiskImage(str(tmp_path / "root.img"))}
