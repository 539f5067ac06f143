"""Manifests: what is taken from them, and which field is named when something is wrong."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.manifest import yaml_text
from launcher.vmi.errors import ManifestError
from launcher.vmi.load import load_vmi
from launcher.vmi.model import CPU, DEFAULT_INTERFACE, Disk, KernelBoot, Port, Timer
from netsetup.model.pod_interface import DNSRequest

MINIMAL: dict[str, Any] = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "VirtualMachineInstance",
    "metadata": {"name": "testvm"},
    "spec": {"domain": {"memory": {"guest": "128Mi"}}},
}

NETWORKED = """
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata:
  name: testvm
  namespace: shop
  uid: 5c1f4ca8-8d0e-4d5c-9f1c-5b3b0c4a6a11
  creationTimestamp: 2024-05-01T10:00:00Z
  labels: {app: shop}
spec:
  affinity: {nodeAffinity: {}}
  tolerations: [{operator: Exists}]
  livenessProbe: {tcpSocket: {port: 80}}
  dnsPolicy: None
  dnsConfig: {nameservers: [10.0.0.1]}
  hostname: front
  subdomain: web
  terminationGracePeriodSeconds: 0
  domain:
    machine: {type: pc-q35-7.2}
    cpu: {cores: 2, threads: 2, model: Nehalem, features: [{name: aes}, {name: x2apic, policy: disable}]}
    resources: {requests: {memory: 1.5Gi}, overcommitGuestOverhead: false}
    features: {acpi: {enabled: false}}
    clock: {timezone: Europe/Berlin, timer: {hpet: {present: false}, kvm: {}}}
    firmware:
      serial: S-1
      bootloader: {bios: {useSerial: true}}
      kernelBoot:
        kernelArgs: console=ttyS0
        container: {image: example/kernel, imagePullPolicy: Always, kernelPath: /boot/vmlinuz}
    devices:
      rng: {}
      autoattachSerialConsole: false
      autoattachGraphicsDevice: false
      networkInterfaceMultiqueue: true
      disks:
        - {name: root, bootOrder: 2, cache: none, io: native, disk: {bus: virtio, pciAddress: "0000:02:00.0"}}
        - {name: media, cdrom: {bus: sata}}
      interfaces:
        - name: default
          masquerade: {}
          macAddress: 52:54:00:12:34:56
          ports: [{port: 80}, {name: dns, port: 53, protocol: UDP}]
          dhcpOptions:
            bootFileName: pxe.bin
            tftpServerName: tftp.example
            ntpServers: [0127.0.0.3]
            privateOptions: [{option: 240, value: a private option}]
        - {name: blue, bridge: {}, model: e1000e, state: down, macAddress: DE-AD-00-00-BE-AF, bootOrder: 1}
        - {name: gone, bridge: {}, state: absent}
  networks:
    - {name: default, pod: {vmNetworkCIDR: 10.10.010.0/24}}
    - {name: blue, multus: {networkName: ns/blue}}
    - {name: gone, multus: {networkName: gone}}
  volumes:
    - {name: root, persistentVolumeClaim: {claimName: root}}
    - {name: media, containerDisk: {image: example/media}}
    - {name: extra, emptyDisk: {capacity: 1Gi}}
status: {phase: Running}
"""


def load(tmp_path: Path, document: object) -> Any:
    path = tmp_path / "vmi.yaml"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return load_vmi(path)


def changed(field: str, value: object) -> dict[str, Any]:
    """The minimal manifest with one field set; lists along the path are made with one element."""
    document = copy.deepcopy(MINIMAL)
    here: Any = document
    *parents, last = field.split(".")
    for name in parents:
        here = here.setdefault(name, {})
    here[last] = value
    return document


def with_interface(interface: dict[str, Any], network: dict[str, Any] | None = None) -> dict[str, Any]:
    document = copy.deepcopy(MINIMAL)
    document["spec"]["domain"]["devices"] = {"interfaces": [{"name": "default", **interface}]}
    document["spec"]["networks"] = [{"name": "default", **(network or {"pod": {}})}]
    return document


def test_minimal_manifest(tmp_path: Path) -> None:
    vmi = load(tmp_path, MINIMAL)
    assert vmi.domain_name == "default_testvm"
    assert vmi.memory == 128 << 20
    assert vmi.machine == "q35"
    assert vmi.cpu == CPU()
    assert vmi.interfaces == (DEFAULT_INTERFACE,)
    assert (vmi.hostname, vmi.subdomain, vmi.grace_seconds) == ("testvm", None, 30)
    assert (vmi.acpi, vmi.serial_console, vmi.rng, vmi.balloon) == (True, True, False, False)
    assert vmi.firmware.uuid == load(tmp_path, MINIMAL).firmware.uuid


def test_full_manifest(tmp_path: Path) -> None:
    vmi = load(tmp_path, NETWORKED)
    assert (vmi.domain_name, vmi.uid) == ("shop_testvm", "5c1f4ca8-8d0e-4d5c-9f1c-5b3b0c4a6a11")
    assert (vmi.hostname, vmi.subdomain, vmi.grace_seconds) == ("front", "web", 0)
    assert vmi.memory == 3 << 29
    assert vmi.cpu == CPU(1, 2, 2, "Nehalem", (("aes", "require"), ("x2apic", "disable")))
    assert vmi.firmware.kernel_boot == KernelBoot("/boot/vmlinuz", None, "console=ttyS0")
    assert (vmi.firmware.serial, vmi.firmware.bios_serial) == ("S-1", True)
    assert vmi.clock.timezone == "Europe/Berlin"
    assert vmi.clock.timers == (Timer("hpet", present=False), Timer("kvmclock"))
    assert (vmi.acpi, vmi.serial_console, vmi.rng) == (False, False, True)
    assert vmi.disks == (
        Disk("root", bus="virtio", boot_order=2, cache="none", io="native", pci_address="0000:02:00.0"),
        Disk("media", "cdrom", readonly=True),
        Disk("extra"),
    )
    default, blue = vmi.interfaces
    assert (default.binding, default.pod_network, default.queues) == ("masquerade", True, 4)
    assert default.mac == "52:54:00:12:34:56"
    assert default.ports == (Port(80), Port(53, "UDP", "dns"))
    assert default.vm_network == "10.10.10.0/24"
    options = default.dhcp_options
    assert (options.boot_file, options.tftp_server) == ("pxe.bin", "tftp.example")
    assert (options.ntp, options.private) == (("127.0.0.3",), ((240, "a private option"),))
    assert (blue.name, blue.multus_network, blue.pod_network) == ("blue", "ns/blue", False)
    assert (blue.mac, blue.state, blue.queues, blue.boot_order) == ("de:ad:00:00:be:af", "down", 1, 1)


@pytest.mark.parametrize(
    ("field", "value", "path", "reason"),
    [
        ("kind", "Pod", "kind", "must be one of VirtualMachine, VirtualMachineInstance"),
        ("apiVersion", "v1", "apiVersion", "kubevirt.io/v1"),
        ("metadata.name", "UPPER", "metadata.name", "lower-case"),
        ("metadata.namespace", "a.b", "metadata.namespace", "DNS label"),
        ("spec.architecture", "arm64", "spec.architecture", "amd64"),
        ("spec.hostname", "a.b", "spec.hostname", "DNS label"),
        ("spec.terminationGracePeriodSeconds", -1, "spec.terminationGracePeriodSeconds", "negative"),
        ("spec.startStrategy", "Paused", "spec.startStrategy", "not supported: leave it out"),
        ("spec.domain.memory", {}, "spec.domain.memory.guest", "required"),
        ("spec.domain.memory.guest", "1x", "spec.domain.memory.guest", "quantity"),
        ("spec.domain.memory.guest", -1, "spec.domain.memory.guest", "quantity"),
        ("spec.domain.memory.guest", "1k", "spec.domain.memory.guest", "at least 1Mi"),
        ("spec.domain.memory.hugepages", {}, "spec.domain.memory.hugepages.pageSize", "is required"),
        ("spec.domain.machine", {"type": "microvm"}, "spec.domain.machine.type", "q35 or pc"),
        ("spec.domain.cpu", {"cores": 0}, "spec.domain.cpu.cores", "at least 1"),
        ("spec.domain.cpu", {"cores": "2"}, "spec.domain.cpu.cores", "must be a whole number, is text"),
        ("spec.domain.cpu", {"cores": 256}, "spec.domain.cpu", "255"),
        (
            "spec.domain.cpu",
            {"features": [{"name": "a", "policy": "no"}]},
            "spec.domain.cpu.features[0].policy",
            "one of",
        ),
        ("spec.domain.cpu", {"numa": {}}, "spec.domain.cpu.numa", "not supported"),
        ("spec.domain.resources", {"limits": {"cpu": 0}}, "spec.domain.resources.limits.cpu", "at least 1"),
        ("spec.domain.firmware", {"uuid": "x"}, "spec.domain.firmware.uuid", "UUID"),
        (
            "spec.domain.firmware",
            {"bootloader": {"efi": {}}},
            "spec.domain.firmware.bootloader.efi.secureBoot",
            "needs system management mode",
        ),
        (
            "spec.domain.firmware",
            {"kernelBoot": {"kernelArgs": "quiet"}},
            "spec.domain.firmware.kernelBoot.container.kernelPath",
            "required",
        ),
        ("spec.domain.clock", {"utc": {}, "timezone": "UTC"}, "spec.domain.clock.timezone", "together"),
        (
            "spec.domain.clock",
            {"timer": {"rtc": {"track": "moon"}}},
            "spec.domain.clock.timer.rtc.track",
            "one of",
        ),
        (
            "spec.domain.devices",
            {"gpus": [{"name": "a", "deviceName": "b"}]},
            "spec.domain.devices.gpus",
            "not supported",
        ),
        ("spec.networks", [{"name": "a", "pod": {}}], "spec.networks[0].name", "no interface"),
        ("spec.networks", [{"name": "a"}], "spec.networks[0]", "exactly one of pod and multus"),
        (
            "spec.networks",
            [{"name": "a", "pod": {}}, {"name": "b", "multus": {"networkName": "b", "default": True}}],
            "spec.networks[1]",
            "primary",
        ),
    ],
)
def test_refused(tmp_path: Path, field: str, value: object, path: str, reason: str) -> None:
    with pytest.raises(ManifestError) as refusal:
        load(tmp_path, changed(field, value))
    assert refusal.value.path == path
    assert reason in refusal.value.reason
    assert not any("\n" in line for line in refusal.value.lines)


INTERFACE = "spec.domain.devices.interfaces[0]"


@pytest.mark.parametrize(
    ("interface", "field", "reason"),
    [
        ({}, "", "exactly one"),
        ({"bridge": {}, "masquerade": {}}, "", "exactly one"),
        ({"bridge": {}, "sriov": {}}, "", "exactly one"),
        ({"sriov": {}}, ".sriov", "not supported: no device of the node"),
        ({"slirp": {}}, ".slirp", "not supported"),
        ({"binding": {"name": "passt"}}, ".binding.name", "user namespace, as in most containers: use one of"),
        ({"bridge": {}, "model": "vmxnet3"}, ".model", "one of virtio"),
        ({"bridge": {}, "state": "half"}, ".state", "one of up, down"),
        ({"bridge": {}, "macAddress": "02:00:00:00:00"}, ".macAddress", "six bytes"),
        ({"bridge": {}, "macAddress": "03:00:00:00:00:00"}, ".macAddress", "multicast"),
        ({"bridge": {}, "macAddress": "00:00:00:00:00:00"}, ".macAddress", "all zero"),
        ({"bridge": {}, "macAddress": "fe:00:00:00:00:01"}, ".macAddress", "libvirt"),
        ({"masquerade": {}, "macAddress": "0200.0000.0000"}, ".macAddress", "bridge"),
        ({"bridge": {}, "pciAddress": "3:0.0"}, ".pciAddress", "0000:03:00.0"),
        ({"bridge": {}, "acpiIndex": 0}, ".acpiIndex", "at least 1"),
        ({"bridge": {}, "acpiIndex": 16384}, ".acpiIndex", "16383"),
        ({"bridge": {}, "bootOrder": 0}, ".bootOrder", "at least 1"),
        ({"bridge": {}, "ports": [{"port": 0}]}, ".ports[0].port", "65535"),
        ({"bridge": {}, "ports": [{"port": 1, "protocol": "ICMP"}]}, ".ports[0].protocol", "TCP, UDP"),
        ({"bridge": {}, "ports": [{"port": 1, "name": "123"}]}, ".ports[0].name", "15"),
        (
            {"bridge": {}, "ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]},
            ".ports[1].name",
            "twice",
        ),
        (
            {"bridge": {}, "dhcpOptions": {"ntpServers": ["ntp.example"]}},
            ".dhcpOptions.ntpServers[0]",
            "IPv4",
        ),
        (
            {"bridge": {}, "dhcpOptions": {"privateOptions": [{"option": 223, "value": ""}]}},
            ".dhcpOptions.privateOptions[0].option",
            "between 224 and 254",
        ),
        (
            {"bridge": {}, "dhcpOptions": {"privateOptions": [{"option": 224, "value": "a"}] * 2}},
            ".dhcpOptions.privateOptions[1].option",
            "twice",
        ),
        ({"bridge": {}, "name": "a b"}, ".name", "letters"),
        ({"bridge": {}, "name": "other"}, ".name", "no network"),
    ],
)
def test_refused_interface(tmp_path: Path, interface: dict[str, Any], field: str, reason: str) -> None:
    with pytest.raises(ManifestError) as refusal:
        load(tmp_path, with_interface(interface))
    assert refusal.value.path == INTERFACE + field
    assert reason in refusal.value.reason


@pytest.mark.parametrize(
    ("network", "path"),
    [
        ({"pod": {"vmNetworkCIDR": "10.0.2.0/31"}}, "spec.networks[0].pod.vmNetworkCIDR"),
        ({"pod": {"vmNetworkCIDR": "abc"}}, "spec.networks[0].pod.vmNetworkCIDR"),
        ({"pod": {"vmIPv6NetworkCIDR": "fd10::/127"}}, "spec.networks[0].pod.vmIPv6NetworkCIDR"),
        ({"pod": {"vmIPv6NetworkCIDR": "10.0.2.0/24"}}, "spec.networks[0].pod.vmIPv6NetworkCIDR"),
        ({"multus": {"networkName": ""}}, "spec.networks[0].multus.networkName"),
    ],
)
def test_refused_network(tmp_path: Path, network: dict[str, Any], path: str) -> None:
    with pytest.raises(ManifestError) as refusal:
        load(tmp_path, with_interface({"bridge": {}}, network))
    assert refusal.value.path == path


def test_masquerade_is_for_the_pod_network(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"interfaces\[0\]\.masquerade: is for the pod network"):
        load(tmp_path, with_interface({"masquerade": {}}, {"multus": {"networkName": "blue"}}))


@pytest.mark.parametrize("field", ["macAddress", "acpiIndex", "bootOrder"])
def test_two_interfaces_share_nothing(tmp_path: Path, field: str) -> None:
    value = {"macAddress": "02:00:00:00:00:05", "acpiIndex": 1, "bootOrder": 1}[field]
    document = copy.deepcopy(MINIMAL)
    document["spec"]["domain"]["devices"] = {
        "interfaces": [{"name": name, "bridge": {}, field: value} for name in ("a", "b")]
    }
    document["spec"]["networks"] = [{"name": name, "multus": {"networkName": name}} for name in ("a", "b")]
    with pytest.raises(ManifestError, match=r"^spec\.domain\.devices\.interfaces: `"):
        load(tmp_path, document)


@pytest.mark.parametrize(
    ("disk", "field", "reason"),
    [
        ({"disk": {}, "cdrom": {}}, "", "several"),
        ({"disk": {"bus": "ide"}}, ".disk.bus", "one of"),
        ({"cdrom": {"bus": "virtio"}}, ".cdrom.bus", "virtio"),
        ({"cdrom": {"readonly": False}}, ".cdrom.readonly", "false"),
        ({"lun": {"bus": "sata"}}, ".lun.bus", "scsi"),
        ({"disk": {"bus": "sata", "pciAddress": "0000:01:00.0"}}, ".disk.pciAddress", "virtio"),
        ({"disk": {"bus": "virtio", "pciAddress": "0001:01:00.0"}}, ".disk.pciAddress", "domain 0000"),
        ({"disk": {"bus": "virtio", "pciAddress": "0000:00:00.1"}}, ".disk.pciAddress", "host bridge"),
        ({"lun": {"bus": "scsi"}, "serial": "a"}, ".serial", "lun"),
        ({"io": "native", "cache": "writeback"}, ".io", "cache none"),
        ({"cache": "fast"}, ".cache", "one of"),
        ({"serial": "a b"}, ".serial", "letters"),
        ({"name": "other"}, ".name", "no volume"),
    ],
)
def test_refused_disk(tmp_path: Path, disk: dict[str, Any], field: str, reason: str) -> None:
    document = changed("spec.domain.devices", {"disks": [{"name": "root", **disk}]})
    document["spec"]["volumes"] = [{"name": "root"}]
    with pytest.raises(ManifestError) as refusal:
        load(tmp_path, document)
    assert refusal.value.path == f"spec.domain.devices.disks[0]{field}"
    assert reason in refusal.value.reason


@pytest.mark.parametrize(
    ("disks", "interfaces", "path"),
    [
        (["0000:02:0A.0", "0000:02:0a.0"], [], "disks[1].disk"),
        (["0000:02:00.0"], ["0000:02:00.0"], "interfaces[0]"),
        ([], ["0000:03:00.0", "0000:03:00.0"], "interfaces[1]"),
    ],
)
def test_two_devices_at_one_pci_address(tmp_path: Path, disks: list[str], interfaces: list[str], path: str) -> None:
    document = copy.deepcopy(MINIMAL)
    names = [f"n{number}" for number in range(len(interfaces))]
    document["spec"]["domain"]["devices"] = {
        "disks": [{"name": f"d{n}", "disk": {"bus": "virtio", "pciAddress": at}} for n, at in enumerate(disks)],
        "interfaces": [
            {"name": name, "bridge": {}, "pciAddress": at} for name, at in zip(names, interfaces, strict=True)
        ],
    }
    document["spec"]["volumes"] = [{"name": f"d{n}"} for n in range(len(disks))]
    document["spec"]["networks"] = [{"name": name, "multus": {"networkName": name}} for name in names]
    if not names:
        del document["spec"]["networks"], document["spec"]["domain"]["devices"]["interfaces"]
        document["spec"]["domain"]["devices"]["autoattachPodInterface"] = False
    with pytest.raises(ManifestError) as refusal:
        load(tmp_path, document)
    assert refusal.value.path == f"spec.domain.devices.{path}.pciAddress"


def test_native_io_needs_no_cache(tmp_path: Path) -> None:
    document = changed("spec.domain.devices", {"disks": [{"name": "root", "io": "native"}]})
    document["spec"]["volumes"] = [{"name": "root"}]
    assert load(tmp_path, document).disks[0].cache == "none"


def test_the_name_of_the_pods_interface_comes_from_the_status(tmp_path: Path) -> None:
    """OVN-Kubernetes' user-defined networks name the primary interface ovn-udn1, and eth0 is not the VM's."""
    found = {"name": "default", "podInterfaceName": "ovn-udn1", "queueCount": 1, "infoSource": "domain, multus-status"}
    document = changed("status", {"phase": "Running", "interfaces": [{"mac": "02:00:00:00:00:07"}, found]})
    (interface,) = load(tmp_path, document).interfaces
    assert interface == replace(DEFAULT_INTERFACE, pod_interface="ovn-udn1")
    (interface,) = load(tmp_path, changed("status", {"interfaces": [found | {"name": "other"}]})).interfaces
    assert interface == DEFAULT_INTERFACE


@pytest.mark.parametrize("name", ["..", "a/b", "a b", "sixteen-octets-x"])
def test_what_cannot_name_an_interface_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ManifestError) as refusal:
        load(tmp_path, changed("status", {"interfaces": [{"name": "default", "podInterfaceName": name}]}))
    assert refusal.value.path == "status.interfaces[0].podInterfaceName"


def test_no_interface_at_all(tmp_path: Path) -> None:
    assert load(tmp_path, changed("spec.domain.devices.autoattachPodInterface", False)).interfaces == ()


@pytest.mark.parametrize(
    ("resources", "count"),
    [
        ({"limits": {"cpu": "1500m"}, "requests": {"cpu": 1}}, 2),
        ({"requests": {"cpu": 3}}, 3),
        ({"limits": {"memory": "1Gi"}}, 1),
    ],
)
def test_processors_without_a_topology(tmp_path: Path, resources: dict[str, Any], count: int) -> None:
    assert load(tmp_path, changed("spec.domain.resources", resources)).cpu == CPU(sockets=count)


def test_host_name_of_a_dotted_object(tmp_path: Path) -> None:
    assert load(tmp_path, changed("metadata.name", "web.shop.example")).hostname == "web"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "line 1, column 5"),
        ("a: 1\na: 2", "line 2, column 1: `a` is given twice"),
        ("", "holds no object"),
        ("kind: Secret\n---\nkind: Pod\n", "holds no virtual machine, but Secret, Pod"),
        ("[]", "must be an object, is a list"),
        ("a: \x00", "not allowed"),
        ("? {a: b}\n: c", "unhashable"),
        ("[" * 5000, "deep"),
        ("[" * 100_000, "deep"),
        ("{a: " * 50_000, "deep"),
        ("- " * 50_000, "deep"),
    ],
)
def test_not_yaml(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ManifestError) as refusal:
        load(tmp_path, text)
    assert refusal.value.path == str(tmp_path / "vmi.yaml")
    assert reason in refusal.value.reason


@pytest.mark.parametrize(
    "text",
    [
        "a: 52:54:00:12:34:56\nb: 010\nc: 0x1F\nd: 0o17\ne: 1e3\nf: .5\ng: 2001-12-14\nh: -7\ni: 1_000\nj: yes\nk: ~",
        "a: &x {b: 1}\nc: {<<: *x, d: [2, 3]}\ne: *x",
        "a: \"\\u00e9\\n\"\nb: |\n  two\n  lines\nc: >-\n  folded\n  text\nd: 'it''s'",
        "- 1\n--- 2\n...\n--- {a: é}\n# nothing\n---\n",
        "spec:\n  list:\n  - a: 1\n    b:\n    - - 2\n      - 3\n",
        NETWORKED,
        json.dumps({"a": [1, 2.5, None, True, {"b": "c"}]}),
    ],
)
def test_both_parsers_read_the_same(text: str) -> None:
    assert yaml_text._load(text, yaml_text._FastLoader) == yaml_text._load(text, yaml_text._Loader)


@pytest.mark.parametrize(
    "text", ["a: [", "a: 1\na: 2", "a:\n\t- 1", "a: b: c", "%YAML 3.0\n--- a", "a: *b", "&a b: @c"]
)
def test_reasons_are_those_of_one_parser(text: str) -> None:
    with pytest.raises(yaml.YAMLError) as expected:
        yaml_text._load(text, yaml_text._Loader)
    with pytest.raises(yaml.YAMLError) as raised:
        yaml_text._documents(text)
    assert str(raised.value) == str(expected.value)


def test_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"nowhere: No such file or directory; name a manifest"):
        load_vmi(tmp_path / "nowhere")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ManifestError, match="not UTF-8"):
        load_vmi(tmp_path / "binary")


def test_importing_the_request_is_cheap() -> None:
    """The pre-start hook imports it, and reads no manifest unless it is given one."""
    imports = "import launcher.vmi.model, launcher.machine.domain_xml"
    script = f"import sys; old = set(sys.modules); {imports}; print(*set(sys.modules) - old)"
    modules = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert not {"yaml", "msgspec", "libvirt", "xml", "uuid", "ipaddress"} & set(modules.split())


def test_the_mac_of_a_running_vm_comes_from_the_status(tmp_path: Path) -> None:
    """A VM that is migrated keeps its MAC; the spec's comes first."""
    reported = {"name": "default", "mac": "02:00:00:00:00:07"}
    (interface,) = load(
        tmp_path, changed("status", {"interfaces": [{"mac": "ff:ff:ff:ff:ff:ff"}, reported]})
    ).interfaces
    assert interface == replace(DEFAULT_INTERFACE, mac="02:00:00:00:00:07")
    document = with_interface({"name": "default", "bridge": {}, "macAddress": "02:00:00:00:00:01"})
    (interface,) = load(tmp_path, document | {"status": {"interfaces": [reported]}}).interfaces
    assert interface.mac == "02:00:00:00:00:01"


def test_the_mac_of_a_tap_in_the_status_is_no_vms(tmp_path: Path) -> None:
    """The VM has the one that it would have without."""
    reported = {"name": "default", "mac": "FE:00:00:00:00:07"}
    (interface,) = load(tmp_path, changed("status", {"interfaces": [reported]})).interfaces
    assert interface == DEFAULT_INTERFACE


def test_a_mac_of_the_status_that_no_guest_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as refusal:
        load(tmp_path, changed("status", {"interfaces": [{"name": "default", "mac": "01:00:00:00:00:07"}]}))
    assert refusal.value.path == "status.interfaces[0].mac"


def test_macs_are_derived_of_namespace_and_name(tmp_path: Path) -> None:
    """Or of the firmware's UUID, where the manifest gives it."""
    first, again = load(tmp_path, MINIMAL), load(tmp_path, changed("metadata.uid", "other"))
    assert first.stable_id == first.firmware.uuid == again.stable_id
    others = {
        load(tmp_path, changed(path, value)).stable_id
        for path, value in (("metadata.namespace", "shop"), ("metadata.name", "x"))
    }
    assert len({first.stable_id, *others}) == 3
    identity = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
    assert load(tmp_path, changed("spec.domain.firmware", {"uuid": identity})).stable_id == identity
    assert load(tmp_path, changed("metadata.annotations", {"virt-launcher.io/mac": "pod"})).stable_id is None


def test_processes_of_the_pod_are_closed_unless_the_annotation_opens_them(tmp_path: Path) -> None:
    path = "metadata.annotations"
    assert not load(tmp_path, MINIMAL).reaches_pod
    for value, opened in (("open", True), ("closed", False)):
        assert load(tmp_path, changed(path, {"virt-launcher.io/pod-services": value})).reaches_pod == opened
    with pytest.raises(ManifestError, match=rf"^{path}\.virt-launcher\.io/pod-services: must be one of closed, open"):
        load(tmp_path, changed(path, {"virt-launcher.io/pod-services": "yes"}))
    assert not load(tmp_path, MINIMAL).hides_clients
    assert load(tmp_path, changed(path, {"virt-launcher.io/client-addresses": "hidden"})).hides_clients


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [(), ()]),
        ("http=net1", [("net1",), ()]),
        ("80 = eth0,http=net1 , 53=tun0,80=eth0", [("net1", "eth0"), ("tun0",)]),
    ],
)
def test_ports_at_further_interfaces(tmp_path: Path, text: str, expected: list[tuple[str, ...]]) -> None:
    ports = [{"name": "http", "port": 80}, {"port": 53, "protocol": "UDP"}]
    assert [port.interfaces for port in _at_interfaces(tmp_path, text, ports=ports)] == expected


def test_a_range_of_ports_at_a_further_interface(tmp_path: Path) -> None:
    (ports,) = _at_interfaces(tmp_path, "8000-8010=net1", portRanges=[{"start": 8000, "end": 8010}])
    assert ports.interfaces == ("net1",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http", "must be ports with an interface each, such as http=net1, has `http`"),
        ("http=", "must be ports"),
        ("http=a name", "must be ports"),
        ('http=a"b', "must be ports"),
        ("http=net1,", "must be ports"),
        ("http=..", "must be ports"),
        ("81=net1", "`81` is neither name nor number of one of the interfaces' ports"),
        ("=net1", "`` is neither"),
        (",".join(["http=net1"] * 65), "must be at most 64, are 65"),
    ],
)
def test_ports_at_interfaces_that_cannot_be(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=rf"^metadata\.annotations\.virt-launcher\.io/port-interfaces: {message}"):
        _at_interfaces(tmp_path, text, ports=[{"name": "http", "port": 80}])


def _at_interfaces(tmp_path: Path, text: str, **ports: Any) -> tuple[Port, ...]:
    document = with_interface({"masquerade": {}, **ports})
    document["metadata"]["annotations"] = {"virt-launcher.io/port-interfaces": text}
    return load(tmp_path, document).interfaces[0].ports


@pytest.mark.parametrize(
    ("policy", "config", "expected"),
    [
        (None, None, None),
        ("ClusterFirst", None, None),
        ("ClusterFirstWithHostNet", {}, DNSRequest()),
        ("Default", {"searches": ["a.test"]}, DNSRequest(searches=("a.test",))),
        ("None", {"nameservers": ["192.0.2.1", "2001:db8::1"]}, DNSRequest(True, ("192.0.2.1", "2001:db8::1"))),
        (
            None,
            {"options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]},
            DNSRequest(options=("ndots:2", "edns0")),
        ),
    ],
)
def test_dns(tmp_path: Path, policy: str | None, config: dict[str, Any] | None, expected: DNSRequest | None) -> None:
    document = changed("spec.dnsPolicy", policy)
    document["spec"]["dnsConfig"] = config
    assert load(tmp_path, document).dns == expected


@pytest.mark.parametrize(
    ("policy", "config", "path"),
    [
        ("Cluster", None, "spec.dnsPolicy"),
        ("None", None, "spec.dnsConfig.nameservers"),
        ("None", {"searches": ["a.test"]}, "spec.dnsConfig.nameservers"),
        (None, {"nameservers": ["192.0.2.1"] * 4}, "spec.dnsConfig.nameservers"),
        (None, {"nameservers": ["192.0.2.1", "dns.test"]}, "spec.dnsConfig.nameservers[1]"),
        (None, {"searches": ["a.test"] * 33}, "spec.dnsConfig.searches"),
        (None, {"searches": ["a" * 1024] * 2}, "spec.dnsConfig.searches"),
        (None, {"options": [{"value": "2"}]}, "spec.dnsConfig.options[0].name"),
        (None, {"servers": []}, "spec.dnsConfig.servers"),
    ],
)
def test_refused_dns(tmp_path: Path, policy: str | None, config: dict[str, Any] | None, path: str) -> None:
    document = changed("spec.dnsPolicy", policy)
    document["spec"]["dnsConfig"] = config
    with pytest.raises(ManifestError) as refusal:
        load(tmp_path, document)
    assert refusal.value.path == path
