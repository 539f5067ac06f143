"""`capture`: what passes between the VM and its pod."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from typing import TYPE_CHECKING

from launcher.streams import OutputError, discard_output, require_output
from launcher.verbs.namespace import enter

if TYPE_CHECKING:
    from collections.abc import Callable

    from launcher.verbs.parsers import Parsers

log = logging.getLogger("launcher")

PACKETS, BYTES, SECONDS = 10_000, 16 << 20, 60


def add(to: Parsers) -> None:
    verb = to.add_verb(
        "capture", run, to.pod, help="write what passes the VM's port as pcapng: DHCP, ARP and neighbour discovery"
    )
    verb.add_argument("--output", metavar="FILE", default="-", help="where to (default: -, standard output)")
    where = verb.add_mutually_exclusive_group()
    where.add_argument("--network", metavar="NAME", help="whose port; needed where the VM has several networks")
    where.add_argument("--interface", metavar="NAME", help="another device, such as the pod's own; needs no record")
    verb.add_argument("--all", action="store_true", help="all frames, whatever they carry")
    for name, most in (("packets", PACKETS), ("bytes", BYTES), ("seconds", SECONDS)):
        verb.add_argument(f"--{name}", metavar="N", type=_positive, default=most, help=f"end after so many ({most})")


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:20]) < 1 << 40):
        raise argparse.ArgumentTypeError(f"{text}: must be a number above 0")
    return int(text)


def run(options: argparse.Namespace) -> int:
    enter(options.netns)
    from launcher.sight.capture import Bounds, Signals, capture, configuration_filter, open_socket

    device = options.interface or _guest_port(options)
    sock = open_socket(device, None if options.all else configuration_filter())
    write = _output(options.output)
    bounds = Bounds(options.packets, options.bytes, options.seconds)
    try:
        with Signals() as signals:
            most = f"{options.packets} packets, {options.bytes} bytes or {options.seconds} s"
            log.info("capturing on %s, for %s at most", device, most)
            captured = capture(sock, write, bounds, signals)
    except BrokenPipeError:
        discard_output()
        log.info("the reader has ended")
        return 0
    except OSError as error:
        raise OutputError(f"{options.output}: {error.strerror}") from None
    log.info("captured %d packets, %d bytes; dropped %d", captured.packets, captured.octets, captured.dropped)
    return 0


def _guest_port(options: argparse.Namespace) -> str:
    """The port of the network that is meant. Raises InvalidRequest, and what reading the record raises."""
    from netsetup.errors import InvalidRequest
    from netsetup.kernel.lock import NamespaceLock
    from netsetup.record import read_record

    with NamespaceLock():
        record = read_record(options.state_dir)
    if record is None:
        raise InvalidRequest("nothing is set up in this network namespace; name an --interface")
    ports = {name: network.guest_port for name, network in record.networks.items()}
    if options.network is None and len(ports) == 1:
        return next(iter(ports.values()))
    if options.network not in ports:
        named = f"network {options.network}: there is none" if options.network else "there are several networks"
        raise InvalidRequest(f"{named}; --network is one of {', '.join(ports)}")
    return ports[options.network]


def _output(path: str) -> Callable[[bytes], object]:
    """What writes all of a block to the file, or to standard output. Raises InvalidRequest and OutputError."""
    from netsetup.errors import InvalidRequest

    descriptor = 1
    if path == "-":
        require_output()
        if sys.stdout.isatty():
            raise InvalidRequest("standard output is a terminal: name an --output FILE, or pipe it into tshark -r -")
    else:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise InvalidRequest(f"--output {path}: {error.strerror}") from None

    def write(block: bytes) -> None:
        while block:
            block = block[os.write(descriptor, block) :]

    return write
