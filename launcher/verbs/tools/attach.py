"""`attach`: give the running VM further interfaces, those of a manifest or one that flags describe."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from dhcp.lean.json import dumps
from launcher.streams import print_result
from launcher.verbs.namespace import enter
from launcher.verbs.parsers import add_manifest

if TYPE_CHECKING:
    from launcher.verbs.parsers import Parsers

_FLAGS = {"name": "NAME", "binding": "--binding", "model": "--model", "macAddress": "--mac"}
"""Where a field of the interface comes from."""


class BadUsage(ValueError):
    """Flags that do not go together."""

    exit_code = 2


def add(to: Parsers) -> None:
    attach = to.add_verb("attach", run, to.pod, to.output, help="give the running VM further interfaces")
    attach.add_argument("network", metavar="NETWORK", nargs="?", help="name of one network, without a manifest")
    add_manifest(attach, "")
    attach.add_argument("--binding", metavar="NAME", help="its binding (default: bridge)")
    attach.add_argument("--interface", metavar="NAME", help="its pod interface (default: by KubeVirt's naming schemes)")
    attach.add_argument("--model", metavar="MODEL", help="model of the NIC (default: virtio)")
    attach.add_argument("--mac", metavar="MAC", help="the VM's MAC (default: derived, or the pod interface's)")


def run(options: argparse.Namespace) -> int:
    described = [options.binding, options.interface, options.model, options.mac]
    if (options.network is None) == (options.vmi is None) or (options.vmi and any(described)):
        raise BadUsage("attach takes --vmi FILE, or NETWORK and the flags that describe it; see attach --help")
    from launcher.control.client import ask

    document = _of_file(options) if options.vmi else None
    enter(options.netns)
    if document is None:
        document = _described(options, ask(options.state_dir, "networks")["vm"])
    answer = ask(options.state_dir, "attach", vmi=document, new=options.vmi is None)
    done = {name: answer[name] for name in ("attached", "detached", "links")}
    print_result(dumps(done) if options.output == "json" else "\n".join(_lines(done)))
    return 0


def _of_file(options: argparse.Namespace) -> dict[str, Any]:
    """The manifest as JSON; what is wrong with it is said with the file's own paths."""
    from launcher.manifest.objects import choose
    from launcher.manifest.reader import called, read_documents
    from launcher.vmi.load import check_request

    machine = choose(read_documents(options.vmi), called(options.vmi), options.name)
    check_request(machine)
    return machine.document


def _described(options: argparse.Namespace, vm: str) -> dict[str, Any]:
    """A manifest with one interface, as flags describe it."""
    from launcher.manifest.objects import machines
    from launcher.vmi.errors import ManifestError
    from launcher.vmi.load import check_request
    from launcher.vmi.model import DEFAULT_INTERFACE

    name, binding = options.network, {"name": options.binding or DEFAULT_INTERFACE.binding}
    document = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": vm},
        "spec": {
            "domain": {
                "devices": {
                    "interfaces": [
                        {"name": name, "binding": binding, "model": options.model, "macAddress": options.mac}
                    ],
                },
            },
            "networks": [{"name": name, "multus": {"networkName": name}}],
        },
        "status": {"interfaces": [{"name": name, "podInterfaceName": options.interface}]},
    }
    try:
        check_request(machines([document], "the flags")[0])
    except ManifestError as error:
        raise error.relocated(_flag_of) from None
    return document


def _flag_of(path: str) -> str:
    if path.endswith("podInterfaceName"):
        return "--interface"
    field = path.removeprefix("spec.domain.devices.interfaces[0].").removeprefix("spec.networks[0].")
    return _FLAGS.get(field.partition(".")[0], path)


def _lines(done: dict[str, Any]) -> list[str]:
    lines = [f"{name}: detached" for name in done["detached"]]
    lines += [f"{name}: link {link}" for name, link in done["links"].items()]
    for network in done["attached"]:
        addresses = ", ".join(network["addresses"]) or "no address"
        lines.append(f"{network['name']}: attached, {network['pod_interface']}, MAC {network['mac']}, {addresses}")
    return lines or ["nothing to do"]
