"""Runs one VM on existing tap devices, as the launcher does, without setting up a network.

    launch.py MANIFEST STATE_DIR TAP=MAC=MTU… [--disk NAME=PATH]… [--volumes DIR] [--connect URI] [--bare]

Prints how the VM ended and exits with that exit code. SIGTERM shuts it down. `--bare` runs it without the init process.
"""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from launcher.container.init import supervise
from launcher.exit_codes import exit_code_of


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("manifest")
    parser.add_argument("state_dir", type=Path)
    parser.add_argument("taps", nargs="*")
    parser.add_argument("--disk", action="append", default=[])
    parser.add_argument("--volumes", default="/nowhere")
    parser.add_argument("--connect")
    parser.add_argument("--bare", action="store_true")
    arguments = parser.parse_args()
    return run(arguments) if arguments.bare else supervise(lambda: exit_code_of(lambda: run(arguments)))


def run(arguments: argparse.Namespace) -> int:
    from launcher.interface_xml import interface_xml
    from launcher.manager import LibvirtDomainManager
    from launcher.request import SetupRequest
    from launcher.vmi.load import load_vmi
    from netsetup.bindings.binding import InterfaceElement

    @dataclass
    class Attached:
        interface_xml: str

    @dataclass
    class AllAttached:
        networks: dict[str, Attached]

    def attach(request: SetupRequest, _state_dir: Path) -> AllAttached:
        networks = {}
        for interface, argument in zip(request.interfaces.values(), arguments.taps, strict=True):
            tap, mac, mtu = argument.split("=")
            element = InterfaceElement("ethernet", (("target", (("dev", tap), ("managed", "no"))),))
            networks[interface.name] = Attached(interface_xml(interface, element, mac, int(mtu)))
        return AllAttached(networks)

    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    manager = LibvirtDomainManager(
        load_vmi(arguments.manifest),
        state_dir=arguments.state_dir,
        disks=dict(disk.split("=", 1) for disk in arguments.disk),
        volumes=arguments.volumes,
        uri=arguments.connect,
        setup=attach,
        teardown=lambda _state_dir: None,
    )
    with manager:
        manager.pre_start_hook()
        manager.start()
        ending = None
        while ending is None:
            ending = manager.stop() if stopping else manager.wait(0.1)
    print(ending.value, flush=True)
    return ending.exit_code


if __name__ == "__main__":
    sys.exit(main())
