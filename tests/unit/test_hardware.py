"""Hardware: what a manifest may say of it, what libvirt is told, and what this host must have."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from launcher.hardware import host
from launcher.hardware.elements import FirmwareFiles, Sockets, disk_threads
from launcher.hardware.host import check_hardware, firmware_files
from launcher.machine.accelerator import Accelerator
from launcher.machine.disk_images import DiskImage
from launcher.machine.domain_xml import domain_xml
from launcher.vmi.errors import ManifestError
from launcher.vmi.load import load_document
from launcher.vmi.model import VirtualMachineInstance

KVM = Accelerator("kvm", "it works")
TCG = Accelerator("tcg", "no /dev/kvm")
SOCKETS = Sockets("/run/agent", "/run/vnc")
DISKS = [{"name": f"d{n}", "disk": {"bus": "virtio"}} for n in range(3)]


def load(domain: dict[str, Any] | None = None, devices: dict[str, Any] | None = None) -> VirtualMachineInstance:
    """A VM with these members of its domain and its devices."""
    given = devices or {}
    interfaces = given.get("interfaces", [])
    return load_document(
        {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachineInstance",
            "metadata": {"name": "vm"},
            "spec": {
                "domain": {"memory": {"guest": "1Gi"}, "devices": given, **(domain or {})},
                "networks": [
                    {"name": each["name"], "multus": {"networkName": "n", "default": not index}}
                    for index, each in enumerate(interfaces)
                ],
                "volumes": [
                    {"name": each["name"]} for kind in ("disks", "filesystems") for each in given.get(kind, [])
                ],
            },
        }
    )


def xml(vmi: VirtualMachineInstance, accelerator: Accelerator = KVM, **options: Any) -> ElementTree.Element:
    images = {disk.name: DiskImage("/d") for disk in vmi.disks}
    return ElementTree.fromstring(
        domain_xml(vmi, interfaces=(), accelerator=accelerator, images=images, sockets=SOCKETS, **options)
    )


def attributes(domain: ElementTree.Element, path: str) -> dict[str, str]:
    found = domain.find(path)
    assert found is not None, path
    return found.attrib


# Devices


def test_every_vm_has_a_channel_for_its_agent_and_a_screen() -> None:
    domain = xml(load())
    assert attributes(domain, "devices/channel/source") == {"mode": "bind", "path": "/run/agent"}
    assert attributes(domain, "devices/channel/target") == {"type": "virtio", "name": "org.qemu.guest_agent.0"}
    assert attributes(domain, "devices/graphics/listen") == {"type": "socket", "socket": "/run/vnc"}
    assert attributes(domain, "devices/video/model")["type"] == "vga"


def test_no_screen() -> None:
    domain = xml(load(devices={"autoattachGraphicsDevice": False}))
    assert domain.find("devices/graphics") is None
    assert attributes(domain, "devices/video/model") == {"type": "none"}


def test_devices() -> None:
    wanted = {
        "inputs": [
            {"name": "tablet", "type": "tablet", "bus": "usb"},
            {"name": "pen", "type": "tablet", "bus": "virtio"},
        ],
        "watchdog": {"name": "dog", "i6300esb": {"action": "poweroff"}},
        "tpm": {"persistent": True},
        "sound": {"name": "sound", "model": "ac97"},
        "video": {"type": "virtio"},
        "autoattachVSOCK": True,
    }
    domain = xml(load(devices=wanted))
    assert [found.attrib for found in domain.findall("devices/input")] == [
        {"type": "tablet", "bus": "usb"},
        {"type": "tablet", "bus": "virtio"},
    ]
    assert attributes(domain, "devices/controller[@type='usb']")["model"] == "qemu-xhci"
    assert attributes(domain, "devices/watchdog") == {"model": "i6300esb", "action": "poweroff"}
    assert attributes(domain, "devices/tpm/backend") == {
        "type": "emulator",
        "version": "2.0",
        "persistent_state": "yes",
    }
    assert attributes(domain, "devices/sound") == {"model": "ac97"}
    assert attributes(domain, "devices/video/model")["type"] == "virtio"
    assert attributes(domain, "devices/vsock/cid") == {"auto": "yes"}


def test_a_tablet_by_default_of_the_vm() -> None:
    assert attributes(xml(load(devices={"autoattachInputDevice": True})), "devices/input")["bus"] == "usb"


def test_transitional_devices() -> None:
    wanted = {"useVirtioTransitional": True, "rng": {}, "autoattachMemBalloon": True, "disks": DISKS}
    vmi = load(devices={**wanted, "interfaces": [{"name": "n", "bridge": {}}]})
    domain = xml(vmi)
    assert vmi.interfaces[0].model == "virtio-transitional"
    for path in ("devices/rng", "devices/memballoon", "devices/disk"):
        assert attributes(domain, path)["model"] == "virtio-transitional"
    assert len(domain.findall("devices/controller[@model='pcie-to-pci-bridge']")) == 1


def test_shared_disks_are_not_cached() -> None:
    disk = {"name": "d", "disk": {"bus": "virtio"}, "shareable": True, "errorPolicy": "report"}
    domain = xml(load(devices={"disks": [disk]}))
    assert attributes(domain, "devices/disk/driver")["error_policy"] == "report"
    assert domain.find("devices/disk/shareable") is not None
    assert attributes(domain, "devices/disk/driver")["cache"] == "none"


# Firmware and features


def test_uefi(tmp_path: Path) -> None:
    efi = {"firmware": {"bootloader": {"efi": {"persistent": True}}}, "features": {"smm": {}}}
    vmi = load(efi)
    files = firmware_files(vmi, tmp_path / "kept", tmp_path / "gone")
    assert files is not None
    assert Path(files.variables).parent == tmp_path / "kept"
    domain = xml(vmi, firmware=FirmwareFiles("/code", "/template", "/variables"))
    loader, nvram = domain.find("os/loader"), domain.find("os/nvram")
    assert loader is not None
    assert nvram is not None
    assert (loader.text, nvram.text) == ("/code", "/variables")
    assert loader.attrib == {"readonly": "yes", "secure": "yes", "type": "pflash"}
    assert nvram.attrib == {"template": "/template"}
    assert attributes(domain, "features/smm") == {"state": "on"}
    open_vmi = load({"firmware": {"bootloader": {"efi": {"secureBoot": False}}}})
    files = firmware_files(open_vmi, tmp_path / "kept", tmp_path / "gone")
    assert files is not None
    assert Path(files.variables).parent == tmp_path / "gone"
    assert firmware_files(load(), tmp_path, tmp_path) is None


FEATURES = {
    "apic": {"endOfInterrupt": True},
    "kvm": {"hidden": True},
    "pvspinlock": {"enabled": False},
    "hyperv": {
        "relaxed": {},
        "vapic": {"enabled": False},
        "spinlocks": {"spinlocks": 8191},
        "synictimer": {"direct": {}},
        "vendorid": {"vendorid": "Genuine&Co"},
    },
}


def test_features() -> None:
    features = xml(load({"features": FEATURES})).find("features")
    assert features is not None
    assert [(feature.tag, feature.attrib) for feature in features] == [
        ("acpi", {}),
        ("apic", {"eoi": "on"}),
        ("hyperv", {"mode": "custom"}),
        ("kvm", {}),
        ("pvspinlock", {"state": "off"}),
    ]
    hyperv = features.find("hyperv")
    assert hyperv is not None
    # The timer needs the controller, and that the processors' numbers.
    assert [(feature.tag, feature.attrib) for feature in hyperv] == [
        ("relaxed", {"state": "on"}),
        ("spinlocks", {"state": "on", "retries": "8191"}),
        ("vpindex", {"state": "on"}),
        ("synic", {"state": "on"}),
        ("stimer", {"state": "on"}),
        ("vendor_id", {"state": "on", "value": "Genuine&Co"}),
    ]
    assert hyperv.find("stimer/direct") is not None


def test_without_kvm_there_are_no_enlightenments() -> None:
    features = xml(load({"features": FEATURES}), TCG).find("features")
    assert features is not None
    assert [feature.tag for feature in features] == ["acpi", "apic", "kvm"]


def test_all_enlightenments_of_the_host() -> None:
    vmi = load({"features": {"hypervPassthrough": {}}})
    assert attributes(xml(vmi), "features/hyperv") == {"mode": "passthrough"}


# Threads, pages, CPUs


@pytest.mark.parametrize(
    ("domain", "own", "threads"),
    [
        ({}, (), {}),
        ({}, (1,), {"d1": 1}),
        ({"ioThreadsPolicy": "shared"}, (), {"d0": 1, "d1": 1, "d2": 1}),
        ({"ioThreadsPolicy": "shared"}, (2,), {"d0": 1, "d1": 1, "d2": 2}),
        ({"ioThreadsPolicy": "auto"}, (), {"d0": 1, "d1": 2, "d2": 1}),
        (
            {"ioThreadsPolicy": "supplementalPool", "ioThreads": {"supplementalPoolThreadCount": 3}},
            (),
            {"d0": 1, "d1": 2, "d2": 3},
        ),
    ],
)
def test_io_threads(domain: dict[str, Any], own: tuple[int, ...], threads: dict[str, int]) -> None:
    disks = [disk | ({"dedicatedIOThread": True} if n in own else {}) for n, disk in enumerate(DISKS)]
    vmi = load(domain, {"disks": disks})
    assert disk_threads(vmi) == threads
    described = xml(vmi)
    assert described.findtext("iothreads") == (str(max(threads.values())) if threads else None)
    found = [driver.get("iothread") for driver in described.findall("devices/disk/driver")]
    assert found == [str(threads[disk.name]) if disk.name in threads else None for disk in vmi.disks]


def test_queues_pages_and_cpus() -> None:
    vmi = load(
        {
            "cpu": {"cores": 2, "dedicatedCpuPlacement": True, "isolateEmulatorThread": True},
            "memory": {"guest": "1Gi", "hugepages": {"pageSize": "2Mi"}},
        },
        {"blockMultiQueue": True, "disks": DISKS[:1]},
    )
    domain = xml(vmi, cpus=[3, 5, 8])
    assert attributes(domain, "devices/disk/driver")["queues"] == "2"
    assert attributes(domain, "memoryBacking/hugepages/page") == {"size": "2048", "unit": "KiB"}
    assert [pin.attrib for pin in domain.findall("cputune/*")] == [
        {"vcpu": "0", "cpuset": "3"},
        {"vcpu": "1", "cpuset": "5"},
        {"cpuset": "8"},
    ]


# PCI


def interfaces(**placed: str | None) -> list[dict[str, Any]]:
    """NICs by their models, each at its address."""
    return [
        {"name": model, "model": model, "bridge": {}, **({"pciAddress": address} if address else {})}
        for model, address in placed.items()
    ]


@pytest.mark.parametrize(
    ("placed", "bridges"),
    [
        ({"virtio": None}, {}),
        ({"e1000": None}, {6: None}),
        ({"e1000": "0000:02:01.0", "virtio": "0000:03:00.0"}, {2: "1"}),
        ({"e1000": "0000:07:01.0", "rtl8139": "0000:07:1f.0"}, {7: "1"}),
        ({"e1000": "0000:00:05.0"}, {}),
        ({"virtio": "0000:01:00.0", "e1000": "0000:03:01.0", "rtl8139": None}, {3: "2"}),
    ],
)
def test_conventional_nics_are_behind_a_bridge(placed: dict[str, str | None], bridges: dict[int, str | None]) -> None:
    domain = xml(load(devices={"interfaces": interfaces(**placed)}))
    found = {}
    for bridge in domain.findall("devices/controller[@model='pcie-to-pci-bridge']"):
        address = bridge.find("address")
        found[int(bridge.get("index", ""))] = address.get("bus") if address is not None else None
    assert found == bridges


@pytest.mark.parametrize(
    ("placed", "reason"),
    [
        ({"virtio": "0000:02:01.0"}, "must be slot 00"),
        ({"e1000": "0000:02:00.0"}, "must be slot 01 to 1f"),
        ({"e1000": "0000:01:01.0"}, "must leave a bus before it to its bridge"),
        ({"virtio": "0000:01:00.0", "e1000": "0000:02:01.0"}, "must leave a bus before it to its bridge"),
        ({"virtio": "0000:00:1f.5"}, "of which 1f is the chipset's"),
        ({"virtio": "0000:40:00.0"}, "must be on a bus below 40"),
        ({"virtio": "0000:03:00.0", "e1000e": "0000:03:00.0"}, "where `virtio` is"),
    ],
)
def test_where_no_device_can_be(placed: dict[str, str | None], reason: str) -> None:
    with pytest.raises(ManifestError, match=rf"interfaces\[\d\]\.pciAddress: .*{reason}"):
        load(devices={"interfaces": interfaces(**placed)})


# What is refused


@pytest.mark.parametrize(
    ("domain", "devices", "message"),
    [
        ({"firmware": {"bootloader": {"efi": {}}}}, {}, r"efi\.secureBoot: needs system management mode: set features"),
        ({"firmware": {"bootloader": {"efi": {}, "bios": {}}}}, {}, r"bootloader: must be one of bios and efi"),
        (
            {"firmware": {"bootloader": {"efi": {}}}, "features": {"smm": {}}, "machine": {"type": "pc"}},
            {},
            r"secureBoot: needs the machine q35, is on pc",
        ),
        (
            {"firmware": {"bootloader": {"efi": {"secureBoot": False}}}, "memory": {"guest": "128Mi"}},
            {},
            r"memory\.guest: must be at least 256Mi for UEFI",
        ),
        ({"features": {"hyperv": {}, "hypervPassthrough": {}}}, {}, r"hypervPassthrough: must not be given together"),
        ({"features": {"hyperv": {"spinlocks": {"spinlocks": 1}}}}, {}, r"spinlocks\.spinlocks: must be at least 4095"),
        ({"features": {"hyperv": {"vendorid": {"vendorid": "a,b"}}}}, {}, r"vendorid: must be 1 to 12 characters"),
        ({"ioThreadsPolicy": "many"}, {}, r"ioThreadsPolicy: must be one of shared, auto"),
        ({"ioThreadsPolicy": "supplementalPool"}, {}, r"supplementalPoolThreadCount: must be at least 1"),
        ({"memory": {"guest": "1Gi", "hugepages": {"pageSize": "4Mi"}}}, {}, r"pageSize: must be 2Mi or 1Gi, is 4Mi"),
        ({"cpu": {"isolateEmulatorThread": True}}, {}, r"isolateEmulatorThread: is for dedicated CPUs"),
        ({}, {"inputs": [{"name": "a", "type": "keyboard"}]}, r"inputs\[0\]\.type: must be one of tablet"),
        ({}, {"inputs": [{"name": "a", "type": "tablet", "bus": "ps2"}]}, r"inputs\[0\]\.bus: must be one of usb"),
        ({}, {"watchdog": {"name": "w"}}, r"watchdog: needs a model: give i6300esb"),
        ({}, {"watchdog": {"name": "w", "i6300esb": {"action": "bark"}}}, r"action: must be one of reset"),
        ({}, {"sound": {"name": "s", "model": "sb16"}}, r"sound\.model: must be one of ich9"),
        ({}, {"video": {"type": "vga"}, "autoattachGraphicsDevice": False}, r"video: is for a VM with graphics"),
        ({}, {"disks": [{"name": "d", "disk": {}, "dedicatedIOThread": True}]}, r"dedicatedIOThread: is for virtio"),
        ({}, {"disks": [{"name": "d", "disk": {"readonly": True}}]}, r"disk\.readonly: is not for sata disks"),
        (
            {},
            {"disks": [{"name": "d", "disk": {}, "shareable": True, "cache": "writeback"}]},
            r"cache: must be none where VMs share the disk",
        ),
    ],
)
def test_refused(domain: dict[str, Any], devices: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        load(domain, devices)


def test_what_this_host_has_not_is_named_all_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    vmi = load(
        {
            "firmware": {"bootloader": {"efi": {}}},
            "features": {"smm": {}},
            "machine": {"type": "pc-q35-rhel9.9.0"},
            "memory": {"guest": "1Gi", "hugepages": {"pageSize": "1Gi"}},
            "cpu": {"cores": 200, "model": "Nonsense", "dedicatedCpuPlacement": True},
        },
        {"tpm": {}, "autoattachVSOCK": True, "filesystems": [{"name": "shared", "virtiofs": {}}]},
    )
    monkeypatch.setattr(host, "VIRTIOFSD", (str(tmp_path / "virtiofsd"),))
    monkeypatch.setattr(host, "CPU_MAP", tmp_path)
    monkeypatch.setattr(host, "OVMF", tmp_path)
    monkeypatch.setattr(host, "VSOCK", str(tmp_path / "vsock"))
    monkeypatch.setattr(host, "HUGE_PAGES", tmp_path)
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(ManifestError) as refusal:
        check_hardware(vmi)
    assert [line.partition(": ")[2] for line in refusal.value.lines] == [
        "`pc-q35-rhel9.9.0` is none of this QEMU's machines: use q35 or pc",
        f"`Nonsense` is no model that libvirt has: see {tmp_path}",
        f"needs {tmp_path}/OVMF_CODE_4M.ms.fd, which is not there: apt-get install ovmf",
        "needs swtpm and swtpm_setup, which is not installed: apt-get install swtpm swtpm-tools",
        f"needs {tmp_path}/vsock, which this container has not: give it the device",
        "needs 1 pages of 1024 MiB, of which 0 are free: reserve them on the node",
        f"needs 200 CPUs for itself, and this container may use {len(host.os.sched_getaffinity(0))}: give it more, or "
        "ask for fewer",
        "needs virtiofsd, which is not installed: apt-get install virtiofsd (Debian 12: qemu-system-common)",
    ]
    check_hardware(load())


def test_features_of_the_cpu_that_libvirt_has_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "x86_Nehalem.xml").touch()
    (tmp_path / "x86_features.xml").write_text(
        "<cpus><feature name='avx2'/><feature name='x'><alias name='y'/></feature>"
    )
    monkeypatch.setattr(host, "CPU_MAP", tmp_path)
    check_hardware(load({"cpu": {"model": "Nehalem", "features": [{"name": "avx2"}, {"name": "y"}]}}))
    with pytest.raises(ManifestError, match=r"cpu\.features\[0\]\.name: `avx` is no feature that libvirt has"):
        check_hardware(load({"cpu": {"features": [{"name": "avx"}]}}))
    monkeypatch.setattr(host, "CPU_MAP", tmp_path / "none")
    check_hardware(load({"cpu": {"features": [{"name": "avx"}]}}))
