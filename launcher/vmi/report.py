"""What `run` would do with each virtual machine of a manifest file, as data and as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launcher.manifest.objects import choose, machines
from launcher.manifest.reader import called, read_documents
from launcher.vmi.errors import ManifestError
from launcher.vmi.load import check_vmi
from launcher.volumes.model import EmptyDisk, Seed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from launcher.manifest.objects import Machine
    from launcher.vmi.model import VirtualMachineInstance
    from launcher.volumes.model import Volume

Report = dict[str, Any]


def report_file(path: str, name: str | None = None) -> list[Report]:
    """A report for each virtual machine of the file, or for those named `name`; one without a kind if there is none."""
    file = called(path)
    try:
        documents = read_documents(path)
        found = machines(documents, file) if name is None else [choose(documents, file, name)]
    except ManifestError as error:
        return [{"file": file, "kind": None, "name": None, "namespace": None, **_refusal(error)}]
    return [_report(file, machine) for machine in found]


def _report(file: str, machine: Machine) -> Report:
    head = {"file": file, "kind": machine.kind, "name": machine.name, "namespace": machine.namespace}
    try:
        vmi = check_vmi(machine)
    except ManifestError as error:
        return head | _refusal(error)
    return head | {"runs": _summary(vmi), "problems": [], "warnings": [*vmi.left_out, *vmi.warnings]}


def _refusal(error: ManifestError) -> Report:
    problems = []
    for problem in error.problems:
        what, remedy = problem.remedy
        problems.append({"path": problem.path, "what": what, "remedy": remedy})
    return {"runs": None, "problems": problems, "warnings": []}


def _summary(vmi: VirtualMachineInstance) -> Report:
    boot = vmi.firmware.kernel_boot
    return {
        "hostname": vmi.hostname,
        "cpus": vmi.cpu.count,
        "memory": vmi.memory,
        "machine": vmi.machine,
        "kernel": boot.kernel if boot is not None else None,
        "disks": [
            {"name": disk.name, "device": disk.device, "bus": disk.bus, "source": _source(disk.name, vmi.volumes)}
            for disk in vmi.disks
        ],
        "interfaces": [{"name": i.name, "binding": i.binding, "model": i.model} for i in vmi.interfaces],
    }


def _source(name: str, volumes: Sequence[Volume]) -> str:
    """What is behind a disk: `image` is one that `run` is given by `--disk` or finds below `--volumes`."""
    for volume in volumes:
        if volume.name == name and isinstance(volume, EmptyDisk):
            return "empty"
        if volume.name == name and isinstance(volume, Seed):
            return "cloud-init" if volume.drive is not None else "files"
    return "image"


def is_refused(reports: list[Report]) -> bool:
    return any(report["problems"] for report in reports)


def lines(reports: list[Report]) -> Iterator[str]:
    """A line for each virtual machine, and one for each problem and warning: `path: what: what to do`."""
    for report in reports:
        if report["kind"] is not None:
            named = f"{report['file']}: {report['kind']} {report['namespace']}/{report['name']}"
            yield f"{named}: {_words(report['runs'])}" if report["runs"] else f"{named}: is refused"
        for problem in report["problems"]:
            yield f"{problem['path']}: {problem['what']}: {problem['remedy']}"
        yield from report["warnings"]


def _words(runs: Mapping[str, Any]) -> str:
    disks = ", ".join(f"{d['name']} ({d['bus']} {d['device']}, {d['source']})" for d in runs["disks"]) or "none"
    interfaces = ", ".join(f"{i['name']} ({i['binding']}, {i['model']})" for i in runs["interfaces"]) or "none"
    size = f"{runs['cpus']} CPU{'s' if runs['cpus'] > 1 else ''}, {-(-runs['memory'] // (1 << 20))} MiB"
    kernel = f"; kernel {runs['kernel']}" if runs["kernel"] else ""
    return f"runs with {size}, {runs['machine']}; disks: {disks}; interfaces: {interfaces}{kernel}"
