"""`prestart`: set the pod's network up."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING

from dhcp.lean.frozen import replace
from dhcp.lean.json import dumps
from launcher.streams import OutputError, print_result, require_output
from launcher.verbs.namespace import enter
from launcher.verbs.parsers import add_manifest, add_network_status

if TYPE_CHECKING:
    from launcher.prestart import PodNetwork
    from launcher.verbs.parsers import Parsers
    from netsetup.model.owner import Owner


def add(to: Parsers) -> None:
    prestart = to.add_verb(
        "prestart",
        run,
        to.pod,
        to.changes,
        to.output,
        help="set the pod's network up; returns when DHCP is answering",
    )
    prestart.add_argument(
        "--phase",
        choices=("all", "network"),
        default="all",
        help="network: start no DHCP server, which is left to `serve` in another container (default: all)",
    )
    add_manifest(prestart, "one bridged NIC")
    add_network_status(prestart)
    prestart.add_argument(
        "--owner",
        metavar="UID[:GID]",
        type=_owner,
        help="who may open the VM's tap device besides root (default: this process's user and group)",
    )
    prestart.add_argument(
        "--interface",
        metavar="NAME",
        type=_interface,
        help="pod interface without --vmi (default: the default route's)",
    )
    prestart.add_argument(
        "--guest-port",
        metavar="NAME",
        type=_interface,
        help="the VM's tap device without --vmi (default: tap0, or a free name)",
    )
    prestart.add_argument("--dry-run", action="store_true", help="show the plan and change nothing")
    prestart.add_argument(
        "--no-isolation", action="store_true", help="let the VM send with other addresses than its own"
    )
    prestart.add_argument(
        "--open-pod-services", action="store_true", help="masquerade: let the VM connect to processes of the pod itself"
    )


def _interface(text: str) -> str:
    from dhcp.lean.text import interface_name

    try:
        return interface_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _owner(text: str) -> Owner:
    from netsetup.model.owner import parse_owner

    try:
        return parse_owner(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None


def run(options: argparse.Namespace) -> int:
    require_output()
    resolver_path = enter(options.netns)
    from launcher.prestart import setup_pod_network
    from launcher.request import SetupRequest

    request = SetupRequest.default(options.interface, options.guest_port)
    if options.vmi:
        from netsetup.errors import InvalidRequest

        if options.interface is not None or options.guest_port is not None:
            raise InvalidRequest(
                "--interface and --guest-port are for a VM without a manifest; in one, status.interfaces[] names the "
                "pod interface (podInterfaceName)"
            )
        from launcher.vmi.load import load_request

        request = load_request(options.vmi, options.name)
        for line in request.left_out:
            logging.getLogger("launcher").warning("%s", line)
    if options.network_status:
        from launcher.vmi.network_status import with_network_status

        request = with_network_status(request, options.network_status)
    if options.no_isolation:
        request = replace(request, isolated=False)
    if options.open_pod_services:
        request = replace(request, reaches_pod=True)
    if options.owner:
        request = replace(request, owner=options.owner)
    pod = setup_pod_network(
        request,
        state_dir=options.state_dir,
        resolver_path=resolver_path,
        server_log_format=options.log_format,
        dry_run=options.dry_run,
        host_network=options.host_network,
        phase=options.phase,
    )
    try:
        print_result(_prestart_result(pod, options))
    except OutputError as unprinted:
        if not options.dry_run:
            _undo_unprinted(pod, options, unprinted)
        raise
    return 0


def _prestart_result(pod: PodNetwork, options: argparse.Namespace) -> str:
    if options.output == "json":
        result = pod.as_json()
        if options.dry_run:
            result |= {"plan": pod.plan, "configs": pod.configs}
        return dumps(result)
    lines = [network.interface_xml for network in pod.networks.values()]
    if options.dry_run:
        lines.insert(0, "\n".join(pod.plan) or "nothing to do")
    return "\n".join(lines)


def _undo_unprinted(pod: PodNetwork, options: argparse.Namespace, unprinted: OutputError) -> None:
    """Put a pod back whose result nobody gets to see; NotRestored for one that was set up before, and has changed."""
    from launcher.prestart import teardown_pod_network
    from netsetup.errors import NotRestored

    if pod.fresh:
        teardown_pod_network(options.state_dir, host_network=options.host_network)
    elif pod.plan:
        raise NotRestored(f"{unprinted}; the pod stays set up, with what had changed: {'; '.join(pod.plan)}")
