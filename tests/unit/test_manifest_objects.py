"""Which virtual machine of a file is taken, what lies beside it, and all that is wrong with it at once."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from launcher.exit_codes import exit_code_of
from launcher.manifest.objects import choose, machines
from launcher.manifest.reader import parse_documents
from launcher.vmi.errors import ManifestError
from launcher.vmi.load import check_vmi, load_request, load_vmi
from launcher.vmi.model import VirtualMachineInstance

PROGRAM = Path(sys.executable).with_name("virt-launcher")

SPEC: dict[str, Any] = {
    "domain": {
        "memory": {"guest": "64Mi"},
        "devices": {"interfaces": [{"name": "default", "masquerade": {}}]},
    },
    "networks": [{"name": "default", "pod": {}}],
}


def vmi(name: str = "vm", spec: object = SPEC, **metadata: object) -> dict[str, Any]:
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": name, **metadata},
        "spec": spec,
    }


def vm(name: str = "vm", spec: object = SPEC, **fields: object) -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}, "annotations": {"virt-launcher.io/mtu": "1300"}}, "spec": spec}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"runStrategy": "Always", "template": template, **fields},
    }


def replica_set(spec: object = SPEC) -> dict[str, Any]:
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstanceReplicaSet",
        "metadata": {"name": "vm"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}}, "template": {"spec": spec}},
    }


def pool(spec: object = SPEC) -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"running": True, "template": {"spec": spec}}}
    return {
        "apiVersion": "pool.kubevirt.io/v1beta1",
        "kind": "VirtualMachinePool",
        "metadata": {"name": "vm"},
        "spec": {"replicas": 2, "selector": {}, "virtualMachineTemplate": template},
    }


SECRET: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "keys"},
    "data": {"userdata": "I2Nsb3Vk", "both": "b25l"},
    "stringData": {"plain": "text", "both": "two"},
}
CONFIG_MAP: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "files", "namespace": "shop"},
    "data": {"a": "text"},
    "binaryData": {"b": "AAE="},
}


def loaded(*documents: object, name: str | None = None) -> VirtualMachineInstance:
    return check_vmi(choose(documents, "file", name))


def refused(*documents: object, name: str | None = None) -> list[str]:
    with pytest.raises(ManifestError) as refusal:
        loaded(*documents, name=name)
    return list(refusal.value.lines)


@pytest.mark.parametrize("document", [vm(), replica_set(), pool(), vmi()], ids=lambda document: document["kind"])
def test_the_template_of_each_kind_is_the_vm(document: dict[str, Any]) -> None:
    found = loaded(document)
    assert (found.name, found.memory, found.interfaces[0].binding) == ("vm", 64 << 20, "masquerade")
    assert found.namespace == document["metadata"].get("namespace", "default")


def test_a_virtual_machine_is_named_by_itself_and_annotated_by_its_template() -> None:
    found = loaded(vm("web"))
    assert (found.domain_name, found.hostname, found.interfaces[0].mtu) == ("shop_web", "web", 1300)
    assert found.firmware.uuid == loaded(vmi("web", namespace="shop")).firmware.uuid
    namespace = uuid.UUID("0f3f0f0c-5f0e-4f0c-9a4e-6f8a3b1f6a70")
    assert found.firmware.uuid == str(uuid.uuid5(namespace, "shop/web")), "licences and machine-ids depend on it"


def test_a_name_that_the_cluster_would_choose() -> None:
    for document in (vmi(), vm()):
        document["metadata"] = {"generateName": "shop-"}
        assert loaded(document).name == "shop"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"runStrategy": "Halted"}, True),
        ({"runStrategy": None, "running": False}, True),
        ({"runStrategy": "Manual"}, True),
        ({"runStrategy": None, "running": True}, False),
        ({"runStrategy": "RerunOnFailure"}, False),
    ],
)
def test_it_is_said_that_the_cluster_would_not_start_it(fields: dict[str, Any], said: bool) -> None:
    assert bool(loaded(vm(**fields)).warnings) is said


PREFIXES = {"VirtualMachine": "spec.template.", "VirtualMachineInstanceReplicaSet": "spec.template."}
PREFIXES["VirtualMachinePool"] = "spec.virtualMachineTemplate.spec.template."


@pytest.mark.parametrize("make", [vm, replica_set, pool, vmi])
def test_paths_are_those_of_the_file(make: Any) -> None:
    document = make(spec={**SPEC, "hostname": "A b"})
    prefix = PREFIXES.get(document["kind"], "")
    assert refused(document) == [f"{prefix}spec.hostname: must be a DNS label, is `A b`"]


def test_what_is_wrong_around_the_template() -> None:
    lines = refused(vm(runStategy="Always") | {"apiVersion": "apps/v1"})
    assert lines == [
        "apiVersion: must be kubevirt.io/v1, is apps/v1",
        "spec.runStategy: is unknown: write runStrategy, if that is meant",
    ]
    assert refused({**vm(), "spec": {"running": True}}) == ["spec.template: is required"]
    assert refused({**pool(), "spec": []}) == ["spec: must be an object, is a list"]


def test_objects_beside_it_are_found_by_name() -> None:
    (machine,) = machines([SECRET, CONFIG_MAP, vm(), {"kind": "Service"}], "file")
    assert machine.content_of("Secret", "keys") == {"userdata": b"#cloud", "plain": b"text", "both": b"two"}
    assert machine.content_of("ConfigMap", "files") == {"a": b"text", "b": b"\0\1"}
    assert machine.content_of("ConfigMap", "keys") is None
    (other,) = machines([CONFIG_MAP, vmi(namespace="elsewhere")], "file")
    assert other.content_of("ConfigMap", "files") is None


@pytest.mark.parametrize("data", [{"a": "AAA"}, {"a": 7}, {"a": None}])
def test_a_secret_that_is_not_encoded_is_not_shown(data: dict[str, Any]) -> None:
    (machine,) = machines([vmi(), {**SECRET, "data": data}], "file")
    with pytest.raises(ManifestError, match=r"^Secret/keys\.data\.a: must be base64$"):
        machine.content_of("Secret", "keys")


def test_one_of_several_is_chosen_by_name() -> None:
    documents = [vmi("a"), vm("b"), vmi("b", namespace="home")]
    assert refused(*documents) == ["file: holds 3 virtual machines: give --name, one of a, shop/b, home/b"]
    assert loaded(*documents, name="a").name == "a"
    assert loaded(*documents, name="home/b").namespace == "home"
    assert refused(*documents, name="c") == ["file: holds no virtual machine named `c`: give one of a, shop/b, home/b"]


def test_an_annotation_of_ours_that_there_is_not() -> None:
    annotations = {"virt-launcher.io/mtuu": "1400", "kubevirt.io/whatever": "yes"}
    (line,) = refused(vmi(annotations=annotations))
    assert line.startswith("metadata.annotations.virt-launcher.io/mtuu: is unknown: leave it out, or write one of virt")


def test_a_list_is_its_items_and_a_running_vm_counts_once() -> None:
    status = {"interfaces": [{"name": "default", "podInterfaceName": "ovn-udn1"}]}
    listed = {"kind": "List", "items": [vm("a"), vmi("a", namespace="shop") | {"status": status}]}
    assert loaded(listed).interfaces[0].pod_interface == "ovn-udn1"


@pytest.mark.parametrize(
    ("documents", "line"),
    [
        ([], "file: holds no object"),
        ([SECRET], "kind: must be one of VirtualMachine, VirtualMachineInstance"),
        ([SECRET, CONFIG_MAP], "file: holds no virtual machine, but Secret, ConfigMap"),
        ([vmi(), []], "file: must be an object, is a list"),
        ([vmi() | {"metadata": None}], "metadata: is required"),
        ([vmi() | {"metadata": []}], "metadata: must be an object, is a list"),
    ],
)
def test_files_without_a_machine(documents: list[Any], line: str) -> None:
    assert refused(*documents)[0].startswith(line)


def test_all_problems_at_once() -> None:
    devices = {
        "gpus": [{"name": "g"}],
        "hostDevices": [{"name": "h"}],
        "interfaces": [{"name": "default", "bridge": {}, "modell": "e1000"}, {"name": "b", "bridge": {}, "model": "x"}],
        "disks": [{"name": "a", "bootOrder": 0}, {"name": "b", "cache": "fast"}],
    }
    domain = {
        "devices": devices,
        "cpu": {"cores": "2", "threads": 0},
        "memory": {"guest": []},
        "machine": {"type": "vax"},
        "firmware": {"acpi": {"slicNameRef": "a"}, "uuid": "no"},
    }
    networks = [{"name": "default", "pod": {}}, {"name": "b", "multus": {"networkName": ""}}]
    lines = refused(vmi(spec={"domain": domain, "networks": networks, "volumes": [{"name": "a"}]}))
    base = "spec.domain"
    assert [line.split(": ")[0] for line in lines] == [
        f"{base}.devices.gpus",
        f"{base}.devices.hostDevices",
        f"{base}.devices.interfaces[0].modell",
        f"{base}.cpu.cores",
        f"{base}.memory.guest",
        f"{base}.firmware.acpi",
        f"{base}.firmware.uuid",
        f"{base}.cpu.threads",
        "spec.networks[1].multus.networkName",
        f"{base}.devices.interfaces[1].model",
        f"{base}.machine.type",
        f"{base}.devices.disks[0].bootOrder",
        f"{base}.devices.disks[1].name",
        f"{base}.devices.disks[1].cache",
    ]


def test_every_problem_is_a_line_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "vm.json").write_text(json.dumps(vmi(spec={"domain": {"cpu": {"cores": 0}}, "hostname": "A"})))
    words = [PROGRAM, "run", "--vmi", tmp_path / "vm.json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert [line.split(": ")[2] for line in done.stderr.splitlines()] == [
        "spec.hostname",
        "spec.domain.cpu.cores",
        "spec.domain.memory.guest",
    ]


def test_problems_are_pickled() -> None:
    """`run` reads the manifest in another process."""
    error = ManifestError("a", "is b: do c", ManifestError("d", "must be e, is f"))
    again = pickle.loads(pickle.dumps(error))
    assert (again.lines, again.problems[1].path) == (("a: is b: do c", "d: must be e, is f"), "d")
    assert [problem.remedy for problem in again.problems] == [("is b", "do c"), ("is f", "must be e")]
    assert exit_code_of(lambda: _fail(error)) == 2


def _fail(error: Exception) -> int:
    raise error


def test_what_is_no_business_of_the_network_does_not_keep_the_hook(tmp_path: Path) -> None:
    spec = {
        **SPEC,
        "startStrategy": "Paused",
        "volumes": [{"nam": "x"}],
        "domain": {
            **SPEC["domain"],
            "devices": {
                **SPEC["domain"]["devices"],
                "gpus": [{"name": "g"}],
                "tpm": {},
                "futureDevice": {},
                "disks": 7,
            },
            "memory": {"guest": "much"},
            "firmware": {"bootloader": {"efi": {}}},
        },
    }
    spec["domain"].pop("memory")
    (tmp_path / "vm.json").write_text(json.dumps(vm(spec=spec, instancetype={"name": "u1.small"})))
    request = load_request(tmp_path / "vm.json")
    assert (request.interfaces["default"].binding, request.interfaces["default"].mtu) == ("masquerade", 1300)
    with pytest.raises(ManifestError):
        load_vmi(tmp_path / "vm.json")


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ({"interfaces": []}, "spec.interfaces: is unknown here: its place is spec.domain.devices.interfaces"),
        ({"network": []}, "spec.network: is unknown: write networks, if that is meant"),
        ({"networks": 7}, "spec.networks: must be a list, is a whole number"),
        (
            {"domain": {"devices": {"interface": []}}},
            "spec.domain.devices.interface: is unknown: write interfaces, if that is meant",
        ),
        ({"domain": {"devices": []}}, "spec.domain.devices: must be an object, is a list"),
    ],
)
def test_what_may_be_the_networks_keeps_it(spec: dict[str, Any], line: str, tmp_path: Path) -> None:
    (tmp_path / "vm.json").write_text(json.dumps(vmi(spec={"domain": {}, **spec})))
    with pytest.raises(ManifestError) as refusal:
        load_request(tmp_path / "vm.json")
    assert refusal.value.lines == (line,)


def test_a_manifest_that_has_been_through_a_cluster() -> None:
    spec = json.loads(json.dumps(SPEC))
    spec["domain"]["cpu"] = {"cores": 1, "maxSockets": 4, "sockets": 1, "threads": 1, "model": "host-model"}
    spec["domain"]["memory"]["maxGuest"] = "256Mi"
    spec["domain"]["features"] = {"acpi": {"enabled": True}, "apic": {}, "smm": {"enabled": False}}
    spec["domain"]["devices"] |= {"logSerialConsole": False, "gpus": [], "sound": None}
    spec |= {"architecture": "amd64", "evictionStrategy": "LiveMigrate", "livenessProbe": {"tcpSocket": {"port": 1}}}
    found = loaded(vmi(spec=spec) | {"status": {"phase": "Running", "nodeName": "n"}})
    assert found.warnings == ()


def test_what_the_vm_goes_without_is_a_warning() -> None:
    spec = {**SPEC, "domain": {**SPEC["domain"], "chassis": {"sku": "a"}}}
    assert loaded(vm(spec=spec)).warnings == (
        "spec.template.spec.domain.chassis: is ignored: the guest sees no chassis data",
    )


def test_run_logs_what_the_vm_goes_without(tmp_path: Path) -> None:
    """Before it looks for the volume, of which there is none."""
    spec = {
        "domain": {**SPEC["domain"], "chassis": {"sku": "a"}},
        "networks": SPEC["networks"],
        "volumes": [{"name": "a"}],
    }
    (tmp_path / "vm.json").write_text(json.dumps(vm(spec=spec, runStrategy="Halted")))
    words = [PROGRAM, "run", "--vmi", tmp_path / "vm.json", "--state-dir", tmp_path / "state", "--volumes", tmp_path]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert [line.partition("warning: ")[2] for line in done.stderr.splitlines()[:2]] == [
        "spec.runStrategy: means Halted: the cluster would not start this VM by itself",
        "spec.template.spec.domain.chassis: is ignored: the guest sees no chassis data",
    ]


def test_standard_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = "from launcher.vmi.load import load_vmi; print(load_vmi('-').name)"
    done = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(vmi("piped")), capture_output=True, text=True, check=True
    )
    assert done.stdout == "piped\n"


@pytest.mark.parametrize(
    ("text", "documents"),
    [
        ('\t{"a":\t[1, "52:54:00:12:34:56"]}\n', [{"a": [1, "52:54:00:12:34:56"]}]),
        ("{a: 1}", [{"a": 1}]),
        ('{"a": 1}\n---\n{"b": 2}\n', [{"a": 1}, {"b": 2}]),
        ("---\n# nothing\n---\na: 1\n...\n", [{"a": 1}]),
    ],
)
def test_json_and_yaml(text: str, documents: list[object]) -> None:
    assert parse_documents(text) == documents


@pytest.mark.parametrize("text", ['{"a": {"b": 1, "b": 2}}', "a: {b: 1, b: 2}"])
def test_a_key_is_given_once(text: str) -> None:
    with pytest.raises(ManifestError, match="`b` is given twice"):
        parse_documents(text)


def test_a_hook_with_json_imports_no_yaml(tmp_path: Path) -> None:
    (tmp_path / "vm.json").write_text(json.dumps(vmi()))
    program = "import sys; from launcher.vmi.load import load_request; load_request(sys.argv[1]); print(*sys.modules)"
    words = [sys.executable, "-c", program, tmp_path / "vm.json"]
    modules = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    assert not {
        "yaml",
        "msgspec",
        "difflib",
        "copy",
        "launcher.manifest.instancetype",
        "libvirt",
        "launcher.vmi.admission",
    } & set(modules)


# --- instance types and preferences -----------------------------------------------------------------------------------


def sized(kind: str, name: str, **spec: object) -> dict[str, Any]:
    return {"apiVersion": "instancetype.kubevirt.io/v1beta1", "kind": kind, "metadata": {"name": name}, "spec": spec}


BARE: dict[str, Any] = {"domain": {"devices": {"disks": [{"name": "a", "disk": {}}]}}, "volumes": [{"name": "a"}]}
SMALL = sized("VirtualMachineInstancetype", "small", cpu={"guest": 4, "model": "Nehalem"}, memory={"guest": "2Gi"})
BUSES = {"preferredDiskBus": "virtio", "preferredInterfaceModel": "e1000e", "preferredRng": {}}
LINUX = sized(
    "VirtualMachineClusterPreference",
    "linux",
    cpu={"preferredCPUTopology": "spread"},
    devices=BUSES,
    machine={"preferredMachineType": "pc-q35-7.2"},
    clock={"preferredClockOffset": {"utc": {}}, "preferredTimer": {"hpet": {"present": False}}},
)
REFERENCES: dict[str, Any] = {"instancetype": {"name": "small"}, "preference": {"name": "linux"}}


def test_an_instance_type_and_a_preference_of_the_same_file() -> None:
    found = loaded(SMALL, vm(spec=BARE, **REFERENCES), LINUX)
    assert (found.memory, found.cpu.model) == (2 << 30, "Nehalem")
    assert (found.cpu.sockets, found.cpu.cores, found.cpu.threads) == (2, 2, 1)
    assert (found.machine, found.rng, found.disks[0].bus) == ("pc-q35-7.2", True, "virtio")
    assert [timer.present for timer in found.clock.timers] == [False]


def test_they_may_be_written_in_place() -> None:
    spec = {**BARE, "domain": {"devices": {"disks": [{"name": "a", "disk": {"bus": "scsi"}}], "rng": None}}}
    found = loaded(vm(spec=spec, instancetype={"spec": SMALL["spec"]}, preference={"spec": LINUX["spec"]}))
    assert (found.memory, found.disks[0].bus, found.rng) == (2 << 30, "scsi", True)


def test_a_preference_holds_for_interfaces_and_volumes_without_a_disk() -> None:
    spec = {**SPEC, "volumes": [{"name": "a"}]}
    found = loaded(vm(spec=spec, preference={"name": "linux", "kind": "virtualmachineclusterpreference"}), LINUX)
    assert (found.interfaces[0].model, found.disks[0].bus) == ("e1000e", "virtio")


@pytest.mark.parametrize(
    ("preferred", "count", "topology"),
    [
        (None, 4, (4, 1, 1)),
        ("preferCores", 4, (1, 4, 1)),
        ("threads", 2, (1, 1, 2)),
        ("any", 3, (3, 1, 1)),
        ("preferSpread", 3, (3, 1, 1)),
        ("spread", 8, (4, 2, 1)),
    ],
)
def test_topology(preferred: str | None, count: int, topology: tuple[int, int, int]) -> None:
    size = {"cpu": {"guest": count}, "memory": {"guest": "1Gi"}}
    preference = {"spec": {"cpu": {"preferredCPUTopology": preferred}}}
    cpu = loaded(vm(spec=BARE, instancetype={"spec": size}, preference=preference)).cpu
    assert (cpu.sockets, cpu.cores, cpu.threads) == topology


@pytest.mark.parametrize(
    ("across", "ratio", "topology"),
    [("SocketsCoresThreads", None, (2, 2, 2)), ("CoresThreads", None, (1, 4, 2)), ("SocketsCores", 4, (2, 4, 1))],
)
def test_spread(across: str, ratio: int | None, topology: tuple[int, int, int]) -> None:
    options = {"across": across, "ratio": ratio}
    preference = {"spec": {"cpu": {"preferredCPUTopology": "spread", "spreadOptions": options}}}
    size = {"spec": {"cpu": {"guest": 8}, "memory": {"guest": "1Gi"}}}
    cpu = loaded(vm(spec=BARE, instancetype=size, preference=preference)).cpu
    assert (cpu.sockets, cpu.cores, cpu.threads) == topology


def test_what_is_wrong_with_references() -> None:
    spec = {**SPEC, "domain": {**SPEC["domain"], "cpu": {"cores": 2}}}
    assert refused(SMALL, vm(spec=spec, instancetype={"name": "small"}))[:2] == [
        "spec.template.spec.domain.cpu.cores: is for the instance type to say: leave it out, or "
        "VirtualMachineInstancetype/small",
        "spec.template.spec.domain.memory.guest: is for the instance type to say: leave it out, or "
        "VirtualMachineInstancetype/small",
    ]
    remedy = "add the VirtualMachineClusterInstancetype, or write what it says into the template"
    references = {"instancetype": {"name": "u1.small"}, "preference": {"name": "linux", "kind": "Other"}}
    assert refused(vm(spec=SPEC, **references)) == [
        f"spec.instancetype.name: `u1.small` is not in the file: {remedy}",
        "spec.preference.kind: must be one of VirtualMachineClusterPreference, VirtualMachinePreference, is Other",
    ]
    assert refused(vm(instancetype={"inferFromVolume": "root"}))[0].startswith("spec.instancetype.name: is required")


def test_unknown_fields_of_instance_types_and_preferences() -> None:
    size = sized("VirtualMachineInstancetype", "small", cpu={"guest": 1, "gust": 2}, memory={"guest": "1Gi"}, gpu=[])
    preference = {"spec": {"devices": {"preferedRng": {}}, "requirements": {"cpu": {"guest": 1}}}}
    assert refused(size, vm(spec=BARE, instancetype={"name": "small"}, preference=preference)) == [
        "VirtualMachineInstancetype/small.spec.cpu.gust: is unknown: leave it out",
        "VirtualMachineInstancetype/small.spec.gpu: is unknown: leave it out",
        "spec.preference.spec.devices.preferedRng: is unknown: leave it out",
    ]


def test_what_an_instance_type_says_is_named_by_its_own_path() -> None:
    size = sized("VirtualMachineInstancetype", "gpu", cpu={"guest": 0}, memory={"guest": "1Gi"}, gpus=[{"name": "g"}])
    preference = {"spec": {"devices": {"preferredTPM": "yes"}, "features": {"preferredSmm": {"enabled": False}}}}
    lines = refused(size, vm(spec=BARE, instancetype={"name": "gpu"}, preference=preference))
    assert [line.partition(": ")[0] for line in lines] == [
        "VirtualMachineInstancetype/gpu.spec.gpus",
        "spec.preference.spec.devices.preferredTPM",
        "VirtualMachineInstancetype/gpu.spec.cpu.guest",
    ]
