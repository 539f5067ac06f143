"""Instance types and preferences of a VirtualMachine, applied to its template as KubeVirt does. Pure.

An instance type decides about CPU, memory and what belongs to them, and conflicts with a template that says it, too. A
preference fills in what the template leaves open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.manifest.schema import BINDING_FIELDS
from launcher.manifest.shapes import field_at, spelled
from launcher.vmi.errors import is_one_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Find = Callable[[tuple[str, ...], str], "Object | None"]

    from launcher.manifest.schema import MachineSpec, Matcher
    from launcher.manifest.shapes import Object
    from launcher.vmi.errors import Problems

KINDS = {
    "instancetype": ("VirtualMachineClusterInstancetype", "VirtualMachineInstancetype"),
    "preference": ("VirtualMachineClusterPreference", "VirtualMachinePreference"),
}
"""What a VirtualMachine refers to; the first is meant where it does not say which."""

DECIDED = {
    "cpu.dedicatedCPUPlacement": "domain.cpu.dedicatedCpuPlacement",
    "cpu.isolateEmulatorThread": "domain.cpu.isolateEmulatorThread",
    "cpu.maxSockets": "domain.cpu.maxSockets",
    "cpu.model": "domain.cpu.model",
    "cpu.numa": "domain.cpu.numa",
    "cpu.realtime": "domain.cpu.realtime",
    "gpus": "domain.devices.gpus",
    "hostDevices": "domain.devices.hostDevices",
    "ioThreads": "domain.ioThreads",
    "ioThreadsPolicy": "domain.ioThreadsPolicy",
    "launchSecurity": "domain.launchSecurity",
    "memory.guest": "domain.memory.guest",
    "memory.hugepages": "domain.memory.hugepages",
    "memory.maxGuest": "domain.memory.maxGuest",
}
"""Fields of an instance type's spec, each with that of the template's spec which it decides about."""

COUNTED = "cpu.guest"
"""How many CPUs the guest has, in the topology of the preference."""
TAKEN = (
    "domain.cpu.cores",
    "domain.cpu.sockets",
    "domain.cpu.threads",
    "domain.resources.limits.cpu",
    "domain.resources.limits.memory",
    "domain.resources.requests.cpu",
    "domain.resources.requests.memory",
)
"""Fields of the template's spec that conflict with every instance type."""

PREFERRED = {
    "clock.preferredClockOffset.timezone": "domain.clock.timezone",
    "clock.preferredClockOffset.utc": "domain.clock.utc",
    "clock.preferredTimer": "domain.clock.timer",
    "cpu.preferredCPUFeatures": "domain.cpu.features",
    "devices.preferredAutoattachGraphicsDevice": "domain.devices.autoattachGraphicsDevice",
    "devices.preferredAutoattachInputDevice": "domain.devices.autoattachInputDevice",
    "devices.preferredAutoattachMemBalloon": "domain.devices.autoattachMemBalloon",
    "devices.preferredAutoattachPodInterface": "domain.devices.autoattachPodInterface",
    "devices.preferredAutoattachSerialConsole": "domain.devices.autoattachSerialConsole",
    "devices.preferredBlockMultiQueue": "domain.devices.blockMultiQueue",
    "devices.preferredDisableHotplug": "domain.devices.disableHotplug",
    "devices.preferredNetworkInterfaceMultiQueue": "domain.devices.networkInterfaceMultiqueue",
    "devices.preferredRng": "domain.devices.rng",
    "devices.preferredTPM": "domain.devices.tpm",
    "devices.preferredUseVirtioTransitional": "domain.devices.useVirtioTransitional",
    "features.preferredAcpi": "domain.features.acpi",
    "features.preferredApic": "domain.features.apic",
    "features.preferredHyperv": "domain.features.hyperv",
    "features.preferredKvm": "domain.features.kvm",
    "features.preferredPvspinlock": "domain.features.pvspinlock",
    "features.preferredSmm": "domain.features.smm",
    "firmware.preferredEfi": "domain.firmware.bootloader.efi",
    "firmware.preferredUseBiosSerial": "domain.firmware.bootloader.bios.useSerial",
    "machine.preferredMachineType": "domain.machine.type",
    "preferredSubdomain": "subdomain",
    "preferredTerminationGracePeriodSeconds": "terminationGracePeriodSeconds",
}
"""Fields of a preference's spec, each with that of the template's spec which it fills in."""

OF_DISKS = {
    "devices.preferredDiskBlockSize": "blockSize",
    "devices.preferredDiskCache": "cache",
    "devices.preferredDiskDedicatedIoThread": "dedicatedIOThread",
    "devices.preferredDiskIO": "io",
}
"""The same of each disk; those that follow, of its device, and of each interface and input."""
OF_BUSES = {
    "devices.preferredCdromBus": "cdrom",
    "devices.preferredDiskBus": "disk",
    "devices.preferredLunBus": "lun",
}
OF_INTERFACES = {"devices.preferredInterfaceModel": "model"}
OF_INPUTS = {"devices.preferredInputBus": "bus", "devices.preferredInputType": "type"}
OTHERS = {
    "instancetype": (
        "annotations",
        "memory.overcommitPercent",
        "memory.reservedOverhead",
        "nodeSelector",
        "schedulerName",
    ),
    "preference": (
        "annotations",
        "cpu.preferredCPUTopology",
        "cpu.spreadOptions.across",
        "cpu.spreadOptions.ratio",
        "devices.preferredInterfaceMasquerade",
        "devices.preferredPanicDeviceModel",
        "devices.preferredSoundModel",
        "devices.preferredVideoType",
        "devices.preferredVirtualGPUOptions",
        "firmware.preferredUseBios",
        "firmware.preferredUseEfi",
        "firmware.preferredUseSecureBoot",
        "preferSpreadSocketToCoreRatio",
        "preferredArchitecture",
        "requirements",
        "volumes.preferredStorageClassName",
    ),
}
"""Their fields that are read otherwise, or ask for nothing here."""


def expand(
    machine: MachineSpec, template: Object, find: Find, problems: Problems, path: str
) -> tuple[Object, dict[str, str]]:
    """The template's spec with instance type and preference of `machine`, and the paths that they have set.

    Each path comes with where that is said. `path` is that of the machine's spec, with a dot.
    """
    import copy

    template = copy.deepcopy(template)
    instancetype, its_name = _spec_of("instancetype", machine.instancetype, find, problems, path)
    preference, other_name = _spec_of("preference", machine.preference, find, problems, path)
    for conflict in conflicts(template, instancetype):
        problems.add(f"{path}template.spec.{conflict}", f"is for the instance type to say: leave it out, or {its_name}")
    applied: dict[str, str] = {}
    for said, paths in (
        (its_name, apply_instancetype(template, instancetype, preference)),
        (other_name, apply_preference(template, preference)),
    ):
        applied |= {f"spec.{target}": f"{said}.spec.{source}" for target, source in paths.items()}
    return template, applied


def _spec_of(field: str, matcher: Matcher | None, find: Find, problems: Problems, path: str) -> tuple[Object, str]:
    """The spec of an instance type or preference, empty without one, and what the object is called."""
    if matcher is None:
        return {}, ""
    if isinstance(matcher.spec, dict):
        _check_fields(field, matcher.spec, path + field, problems)
        return matcher.spec, path + field
    if not matcher.name:
        problems.add(f"{path}{field}.name", "is required: no volume of the cluster can be asked for it")
        return {}, ""
    kinds: tuple[str, ...] = KINDS[field]
    if matcher.kind:
        kinds = tuple(kind for kind in kinds if kind.lower() == matcher.kind.lower())
        if not kinds:
            problems.add(f"{path}{field}.kind", f"must be one of {', '.join(KINDS[field])}, is {matcher.kind}")
            return {}, ""
    found = find(kinds, matcher.name)
    if found is None or not isinstance(found.get("spec"), dict):
        remedy = f"add the {kinds[0]}, or write what it says into the template"
        problems.add(f"{path}{field}.name", f"`{matcher.name}` is not in the file: {remedy}")
        return {}, ""
    called = f"{found['kind']}/{matcher.name}"
    _check_fields(field, found["spec"], called, problems)
    return found["spec"], called


def _check_fields(field: str, spec: Object, called: str, problems: Problems) -> None:
    """Refuse the fields that no instance type, or no preference, has."""
    known = {
        "instancetype": [*DECIDED, COUNTED],
        "preference": [*PREFERRED, *OF_DISKS, *OF_BUSES, *OF_INTERFACES, *OF_INPUTS],
    }[field]
    known.extend(OTHERS[field])

    def check(value: object, path: str) -> None:
        if path in known or not isinstance(value, dict):
            return
        for name, inner in value.items():
            here = f"{path}.{name}" if path else str(name)
            if is_one_of(here, known):
                check(inner, here)
            else:
                problems.add(f"{called}.spec.{here}", "is unknown: leave it out")

    check(spec, "")


def conflicts(template: Object, instancetype: Object) -> Iterator[str]:
    """The paths of the template's spec that say what the instance type says, too."""
    decided = [target for source, target in DECIDED.items() if field_at(instancetype, source) is not None]
    for path in (*TAKEN, *decided):
        if field_at(template, path) is not None:
            yield path


def apply_instancetype(template: Object, instancetype: Object, preference: Object) -> dict[str, str]:
    """Change the template's spec; returns the paths that were set, each with where that comes from."""
    applied = {}
    for source, target in DECIDED.items():
        if (value := field_at(instancetype, source)) is not None:
            put(template, target, value)
            applied[target] = source
    count = field_at(instancetype, COUNTED)
    if type(count) is int:
        for part, value in zip(("sockets", "cores", "threads"), topology(count, preference), strict=True):
            put(template, f"domain.cpu.{part}", value)
            applied[f"domain.cpu.{part}"] = COUNTED
    return applied


def topology(count: int, preference: Object) -> tuple[int, int, int]:
    """Sockets, cores and threads of so many CPUs; of those that cannot be spread as preferred, sockets."""
    wanted = str(field_at(preference, "cpu.preferredCPUTopology") or "sockets").removeprefix("prefer").lower()
    if wanted == "cores":
        return 1, count, 1
    if wanted == "threads":
        return 1, 1, count
    if wanted == "spread":
        across = field_at(preference, "cpu.spreadOptions.across") or "SocketsCores"
        ratio = (
            field_at(preference, "cpu.spreadOptions.ratio")
            or field_at(preference, "preferSpreadSocketToCoreRatio")
            or 2
        )
        threads = 2 if across in ("SocketsCoresThreads", "CoresThreads") else 1
        cores = count // threads if across == "CoresThreads" else ratio
        if type(cores) is int and cores > 0 and count % (cores * threads) == 0:
            return count // (cores * threads), cores, threads
    return count, 1, 1


def apply_preference(template: Object, preference: Object) -> dict[str, str]:
    """Fill in what the template's spec leaves open; returns the paths that were set, each with where it comes from."""
    applied = {}

    def fill(path: str, source: str, value: object) -> None:
        if value is not None and field_at(template, path) is None:
            put(template, path, value)
            applied[path] = source

    has_clock = (
        field_at(template, "domain.clock.utc") is not None or field_at(template, "domain.clock.timezone") is not None
    )
    has_bootloader = bool(field_at(template, "domain.firmware.bootloader"))
    for source, target in PREFERRED.items():
        is_settled = (has_clock and "ClockOffset" in source) or (has_bootloader and source == "firmware.preferredEfi")
        if not is_settled:
            fill(target, source, field_at(preference, source))
    if field_at(preference, "firmware.preferredUseEfi") and not has_bootloader:
        secure = field_at(preference, "firmware.preferredUseSecureBoot")
        fill("domain.firmware.bootloader.efi", "firmware.preferredUseEfi", {"secureBoot": bool(secure)})
    devices = field_at(template, "domain.devices")
    if not isinstance(devices, dict):
        put(template, "domain.devices", devices := {})
    _fill_disks(template, devices, preference)
    for field, sources in (("interfaces", OF_INTERFACES), ("inputs", OF_INPUTS)):
        for item in _objects(devices.get(field)):
            for source, name in sources.items():
                _fill(item, name, field_at(preference, source))
    if field_at(preference, "devices.preferredInterfaceMasquerade") is not None:
        for interface in _objects(devices.get("interfaces")):
            if not {spelled(name) for name in BINDING_FIELDS} & interface.keys():
                interface["masquerade"] = {}
    sound = devices.get("sound")
    if isinstance(sound, dict):
        _fill(sound, "model", field_at(preference, "devices.preferredSoundModel"))
    return applied


def _fill_disks(template: Object, devices: Object, preference: Object) -> None:
    """The disks, and one for each volume that has none."""
    disks = devices.get("disks")
    if disks is None:
        disks = devices["disks"] = []
    names = [disk.get("name") for disk in _objects(disks)]
    for volume in _objects(template.get("volumes")):
        if volume.get("name") not in names and isinstance(disks, list):
            disks.append({"name": volume.get("name")})
    for disk in _objects(disks):
        for source, name in OF_DISKS.items():
            _fill(disk, name, field_at(preference, source))
        if not {"disk", "cdrom", "lun"} & disk.keys():
            disk["disk"] = {}
        for source, device in OF_BUSES.items():
            if isinstance(target := disk.get(device), dict):
                _fill(target, "bus", field_at(preference, source))


def _fill(item: Object, name: str, value: object) -> None:
    if value is not None and item.get(name) is None:
        item[name] = value


def _objects(items: object) -> Iterator[Object]:
    if isinstance(items, list):
        yield from (item for item in items if isinstance(item, dict))


def put(item: Object, path: str, value: object) -> None:
    """Set the value at a path; what on the way is no object is left, for the decoder to report."""
    *parents, last = path.split(".")
    for name in parents:
        if item.get(name) is None:
            item[name] = {}
        if not isinstance(item[name], dict):
            return
        item = item[name]
    item[last] = value
