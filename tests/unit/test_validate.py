"""`virt-launcher validate`, over manifests that have every field of KubeVirt's API in them.

Beside each manifest of tests/manifests lies what `validate` prints of it, run in that folder; `--update-snapshots`
writes it anew.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from launcher.manifest.fields import CLUSTERS, MEANINGLESS, NETWORK, REFUSED, WITHOUT
from launcher.manifest.json_schema import accepted_types, json_schema
from launcher.manifest.objects import Machine, machines
from launcher.manifest.reader import read_documents
from launcher.manifest.schema import Manifest
from launcher.manifest.shapes import paths_of
from launcher.request import SetupRequest
from launcher.vmi.errors import ManifestError, is_below
from launcher.vmi.load import check_vmi, load_request, load_vmi
from launcher.vmi.report import is_refused, lines, report_file

FOLDER = Path(__file__).parents[1] / "manifests"
CORPUS = sorted(path.name for path in FOLDER.glob("*.yaml"))
OURS = (
    "spec.domain.devices.disks[].cdrom.pciAddress",
    "spec.domain.devices.disks[].lun.pciAddress",
    "spec.domain.devices.interfaces[].portRanges",
)
"""Fields that KubeVirt's API does not have; of the first two a message says which disks have an address."""

PROGRAM = Path(sys.executable).with_name("virt-launcher")


def virt_launcher(*words: object, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [PROGRAM, "validate", *map(str, words)]
    return subprocess.run(command, input=text, cwd=FOLDER, capture_output=True, text=True, check=False)


def kubevirts_fields() -> list[str]:
    """The paths of kubevirt_v1.txt; those with fields below are there by these."""
    paths: list[str] = []
    above: list[tuple[int, str]] = [(-1, "spec")]
    for line in (FOLDER / "kubevirt_v1.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        depth = len(line) - len(line.lstrip())
        while above[-1][0] >= depth:
            above.pop()
        names = [f"{above[-1][1]}.{name}" for name in line.split()]
        paths.extend(names)
        above.append((depth, names[-1]))
    return paths


def paths_in(value: object, path: str) -> Iterator[str]:
    """The paths of all fields that a document has, `[]` for the elements of lists."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield f"{path}.{name}"
            yield from paths_in(inner, f"{path}.{name}")
    elif isinstance(value, list):
        yield f"{path}[]"
        for inner in value:
            yield from paths_in(inner, f"{path}[]")


def without_refused(value: object, path: str) -> object:
    """The value without refused fields: those that ask for nothing are no reason to refuse a manifest."""
    if isinstance(value, list):
        return [without_refused(inner, f"{path}[]") for inner in value]
    if not isinstance(value, dict):
        return value
    fields = {name: (f"{path}.{name}", inner) for name, inner in value.items()}
    return {name: without_refused(inner, here) for name, (here, inner) in fields.items() if here not in REFUSED}


def corpus() -> Iterator[Machine]:
    for name in CORPUS:
        yield from machines(read_documents(FOLDER / name), name)


@pytest.mark.parametrize("name", CORPUS)
def test_corpus(name: str, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> None:
    monkeypatch.chdir(FOLDER)
    reports = report_file(name)
    printed, expected = "\n".join(lines(reports)) + "\n", (FOLDER / name).with_suffix(".txt")
    if pytestconfig.getoption("--update-snapshots"):
        expected.write_text(printed)
    assert printed == expected.read_text()
    assert all(line.count(": ") >= 2 for line in lines(reports) if not line.endswith("is refused"))


def test_the_corpus_has_every_field_of_kubevirts_api() -> None:
    present = {path for machine in corpus() for path in paths_in(machine.document.get("spec"), "spec")}
    assert [path for path in kubevirts_fields() if path not in present] == []


def test_every_field_of_kubevirts_api_is_accepted_ignored_or_refused() -> None:
    known = {*paths_of(Manifest), *CLUSTERS, *WITHOUT, *REFUSED}
    fields = kubevirts_fields()
    assert [path for path in fields if not any(is_below(path.removesuffix("[]"), other) for other in known)] == []
    there = {path.removesuffix("[]") for path in fields} | {path.rpartition(".")[0] for path in fields}
    ours = {path for path in known if path.startswith("spec.") and path not in there}
    assert [path for path in ours if not any(is_below(path, other) for other in OURS)] == []


def test_a_field_has_one_fate() -> None:
    tables = [*paths_of(Manifest), *CLUSTERS, *WITHOUT, *REFUSED]
    assert len(tables) == len(set(tables))
    assert MEANINGLESS.keys() <= REFUSED.keys()
    assert [list(table) for table in (CLUSTERS, WITHOUT, REFUSED, NETWORK)] == [
        sorted(table) for table in (CLUSTERS, WITHOUT, REFUSED, NETWORK)
    ]
    schema = set(paths_of(Manifest))
    assert [path for path in NETWORK if path.removesuffix(".cpu") not in schema] == []


def test_the_schema_takes_what_run_takes() -> None:
    """msgspec's classes, of which it is made, decode what our decoder takes, and nothing that has a refused field."""
    taken = accepted_types()
    for machine in corpus():
        document = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance"} | machine.document
        try:
            check_vmi(machine)
        except ManifestError as error:
            if (
                any("not supported: leave" in line or "is unknown" in line for line in error.lines)
                and not machine.error
            ):
                with pytest.raises(msgspec.ValidationError):
                    msgspec.convert(document, taken)
        else:
            assert msgspec.convert({**document, "spec": without_refused(document["spec"], "spec")}, taken)
    schema = json_schema()
    assert schema["$defs"]["spec"]["properties"]["affinity"]["description"].startswith("ignored")
    assert "gpus" not in schema["$defs"]["spec.domain.devices"]["properties"]
    assert schema["discriminator"]["propertyName"] == "kind"


def test_exit_codes_and_forms() -> None:
    fine = virt_launcher("through_a_cluster.yaml")
    assert (fine.returncode, fine.stderr) == (0, "")
    wrong = virt_launcher("--output", "json", "through_a_cluster.yaml", "mistakes.yaml")
    assert (wrong.returncode, wrong.stderr) == (2, "")
    shop, *others = json.loads(wrong.stdout)["machines"]
    assert (shop["file"], shop["kind"], shop["namespace"], shop["name"]) == (
        "through_a_cluster.yaml",
        "VirtualMachineInstance",
        "web",
        "shop",
    )
    assert shop["runs"]["interfaces"] == [{"name": "default", "binding": "masquerade", "model": "virtio"}]
    assert others[0]["runs"] is None
    assert others[0]["problems"][0] == {
        "path": "spec.runStategy",
        "what": "is unknown",
        "remedy": "write runStrategy, if that is meant",
    }
    piped = virt_launcher("-", text=(FOLDER / "through_a_cluster.yaml").read_text())
    assert (piped.returncode, piped.stdout) == (0, fine.stdout.replace("through_a_cluster.yaml", "standard input", 1))
    assert json.loads(virt_launcher("--schema").stdout)["$defs"]
    assert virt_launcher().returncode == 2


def test_files_that_hold_no_machine(tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("a: [")
    (tmp_path / "other").write_text("kind: Service\n")
    for file in ("broken", "other", "nowhere"):
        reports = report_file(str(tmp_path / file))
        assert is_refused(reports)
        (line,) = lines(reports)
        assert line.count(": ") >= 2, line


def test_one_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    (report,) = report_file("kinds.yaml", "default/pool")
    assert report["kind"] == "VirtualMachinePool"
    (report,) = report_file("kinds.yaml", "nobody")
    problem: dict[str, Any] = report["problems"][0]
    assert problem == {
        "path": "kinds.yaml",
        "what": "holds no virtual machine named `nobody`",
        "remedy": "give one of replicas, pool, sized, elsewhere",
    }


def accepted() -> list[tuple[str, str]]:
    """The virtual machines of the corpus that `run` takes, by file and name."""
    reports = [(name, report) for name in CORPUS for report in report_file(str(FOLDER / name))]
    return [(name, f"{report['namespace']}/{report['name']}") for name, report in reports if report["runs"]]


@pytest.mark.parametrize(("file", "machine"), accepted())
def test_the_hook_asks_for_what_run_asks_for(file: str, machine: str) -> None:
    """The hook reads the network's part alone, and all of that: each NIC's model, MAC and DHCP options."""
    assert load_request(FOLDER / file, machine) == SetupRequest.from_vmi(load_vmi(FOLDER / file, machine))


def test_the_hook_makes_the_nics_of_an_old_guest(tmp_path: Path) -> None:
    """A device's setting that is for NICs too."""
    document = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": {"name": "old"}}
    spec = {"domain": {"memory": {"guest": "64Mi"}, "devices": {"useVirtioTransitional": True}}}
    file = tmp_path / "vmi.json"
    file.write_text(json.dumps(document | {"spec": spec}))
    request = load_request(file)
    assert request == SetupRequest.from_vmi(load_vmi(file))
    assert [interface.model for interface in request.interfaces.values()] == ["virtio-transitional"]
