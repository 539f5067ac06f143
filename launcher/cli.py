"""The command line: verbs, results on standard output, logs and errors on standard error, exit codes.

0 done; 1 failed, everything undone; 2 bad usage, bad input, or what container or kernel lack, nothing changed; 3 failed
and not fully undone. `run` adds 4, the VM was destroyed after its grace period, and 5, the guest crashed.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from dhcp.lean.frozen import replace
from dhcp.lean.json import dumps
from dhcp.lean.text import printable
from dhcp.standard_streams import open_standard_streams
from launcher import logs, streams
from launcher.exit_codes import FAILED, exit_code_of
from launcher.streams import OutputError, print_result, require_output

if TYPE_CHECKING:
    from launcher.prestart import PodNetwork
    from netsetup.model.owner import Owner

log = logging.getLogger("launcher")

HELP_WIDTH = 100
"""Of the lines of `--help` where COLUMNS does not say another."""

# Instead of gettext, which has no translation of these texts, and takes 2 ms to find that out.
setattr(argparse, "_", str)  # noqa: B010


def command() -> NoReturn:
    """The program: `main`, exiting without the interpreter's 10 ms of finalisation."""
    gc.disable()  # hardly anything of what a start makes is garbage; `run`, which runs on, switches it on again
    open_standard_streams()
    try:
        status = main()
    except SystemExit as ended:  # help, or bad usage
        status = ended.code if isinstance(ended.code, int) else FAILED
    if problem := streams.flush():
        log.error("%s", problem)
        status = status or FAILED
    os._exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code; `arguments` defaults to the command line's."""
    words = sys.argv[1:] if arguments is None else arguments
    options = _parser(words).parse_args(words)
    logs.configure(options.log_format, options.verbose)
    verb: Callable[[argparse.Namespace], int] = options.verb
    return exit_code_of(lambda: verb(options))


class _Parser(argparse.ArgumentParser):
    """Bad usage is one line, as every error is; the rest of the usage is a `--help` away."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=_formatter, **settings)

    def _print_message(self, message: str, file: Any = None) -> None:
        try:
            super()._print_message(message, file)
        except OSError as error:
            if file is sys.stdout:  # of help; an error's exit code says more than that it cannot be read
                streams.discard_output()
                self.exit(FAILED, f"virt-launcher: error: standard output: {error.strerror}\n")

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"virt-launcher: error: {printable(message)}; see {self.prog} --help\n")


def _formatter(prog: str) -> argparse.HelpFormatter:
    """A formatter of COLUMNS or HELP_WIDTH; querying the terminal would import shutil."""
    columns = os.environ.get("COLUMNS", "")
    is_number = columns.isdecimal() and len(columns) < 6
    return argparse.HelpFormatter(prog, width=(int(columns) if is_number else 0) or HELP_WIDTH)


class _Parsers:
    """The command line's, and what several verbs have in common."""

    def __init__(self) -> None:
        self.common = _Parser(add_help=False)
        self.common.add_argument("--log-format", choices=("text", "json"), default="text", help="form of the log")
        self.common.add_argument("--verbose", action="store_true", help="log every step")
        self.pod = _Parser(add_help=False)
        self.pod.add_argument("--netns", metavar="NAME|PATH", help="enter this network namespace first")
        self.pod.add_argument(
            "--state-dir", metavar="DIR", help="folder of this pod's record (default: below /run/virt-launcher)"
        )
        self.changes = _Parser(add_help=False)
        self.changes.add_argument(
            "--host-network", action="store_true", help="also if this is the machine's own network namespace"
        )
        self.output = _Parser(add_help=False)
        self.output.add_argument("--output", choices=("text", "json"), default="text", help="form of the result")
        self.all = _Parser(
            prog="virt-launcher", description="Hands a pod's network to the virtual machine that runs in it."
        )
        self._verbs = self.all.add_subparsers(metavar="VERB", required=True, prog="virt-launcher")

    def add_verb(
        self, name: str, run: Callable[[argparse.Namespace], int], *parents: _Parser, help: str
    ) -> argparse.ArgumentParser:
        verb = self._verbs.add_parser(name, parents=[self.common, *parents], help=help)
        verb.set_defaults(verb=run)
        return verb


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """What parses `words`. Where they begin with a verb it has no other: each takes a sixth of a millisecond."""
    parsers = _Parsers()
    for name in words[:1] if words and words[0] in VERBS else VERBS:
        VERBS[name](parsers)
    return parsers.all


def _add_prestart(to: _Parsers) -> None:
    prestart = to.add_verb(
        "prestart",
        _prestart,
        to.pod,
        to.changes,
        to.output,
        help="set the pod's network up; returns when DHCP is answering",
    )
    prestart.add_argument("--vmi", metavar="FILE", help="VirtualMachineInstance manifest (default: one bridged NIC)")
    prestart.add_argument(
        "--owner",
        metavar="UID[:GID]",
        type=_owner,
        help="who may open the VM's tap device besides root (default: this process's user and group)",
    )
    prestart.add_argument("--dry-run", action="store_true", help="show the plan and change nothing")
    prestart.add_argument(
        "--no-isolation", action="store_true", help="let the VM send with other addresses than its own"
    )
    prestart.add_argument(
        "--open-pod-services", action="store_true", help="masquerade: let the VM connect to processes of the pod itself"
    )


def _owner(text: str) -> Owner:
    from netsetup.model.owner import parse_owner

    try:
        return parse_owner(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None


def _add_teardown(to: _Parsers) -> None:
    teardown = to.add_verb("teardown", _teardown, to.pod, to.changes, help="put everything back, stop the DHCP server")
    teardown.add_argument("--force", action="store_true", help="also while a `run` has its VM here, which is cut off")


def _add_status(to: _Parsers) -> None:
    to.add_verb("status", _status, to.pod, to.output, help="what is set up, and how it is used")


def _add_doctor(to: _Parsers) -> None:
    to.add_verb(
        "doctor", _doctor, to.pod, to.output, help="look at each hop between VM and node; exit code 1: one is wrong"
    )


def _add_probe(to: _Parsers) -> None:
    probe = to.add_verb(
        "probe",
        _probe,
        to.pod,
        to.output,
        help="request the VM's lease without sending the guest a frame; exit code 1: it is not as recorded",
    )
    probe.add_argument("--vmi", metavar="FILE", help="compare with this manifest (default: what prestart was given)")


def _add_run(to: _Parsers) -> None:
    run = to.add_verb("run", _run, to.pod, to.changes, help="container entrypoint: set up, boot, watch, put back")
    run.add_argument("--vmi", metavar="FILE", required=True, help="VirtualMachineInstance manifest")
    run.add_argument(
        "--disk", metavar="NAME=PATH", action="append", default=[], help="what is behind a disk of the manifest"
    )
    run.add_argument(
        "--backing-files", action="store_true", help="let disk images name backing and data files, which QEMU opens too"
    )
    run.add_argument("--connect", metavar="URI", help="libvirt to use (default: one of the launcher's own)")


def _add_demo(to: _Parsers) -> None:
    to.add_verb("demo", _demo, to.output, help="a pod, a node and a real VM on this machine (needs root)")


VERBS: dict[str, Callable[[_Parsers], None]] = {
    "prestart": _add_prestart,
    "teardown": _add_teardown,
    "status": _add_status,
    "doctor": _add_doctor,
    "probe": _add_probe,
    "run": _add_run,
    "demo": _add_demo,
}


def _prestart(options: argparse.Namespace) -> int:
    require_output()
    resolver_path = _enter(options.netns)
    from launcher.prestart import setup_pod_network
    from launcher.request import SetupRequest

    request = SetupRequest.default()
    if options.vmi:
        from launcher.vmi.load import load_vmi

        request = SetupRequest.from_vmi(load_vmi(options.vmi))
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


def _teardown(options: argparse.Namespace) -> int:
    _enter(options.netns)
    from launcher.prestart import teardown_pod_network

    if not teardown_pod_network(options.state_dir, host_network=options.host_network, under_vm=options.force):
        log.info("nothing was set up in this network namespace")
    return 0


def _status(options: argparse.Namespace) -> int:
    _enter(options.netns)
    import dataclasses

    from launcher.status import Status, lines, read_status

    status = read_status(options.state_dir)
    if options.output == "json":
        print_result(dumps(dataclasses.asdict(status or Status())))
    else:
        print_result("\n".join(lines(status)) if status else "nothing is set up in this network namespace")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    _enter(options.netns)
    import dataclasses

    from launcher.doctor.examine import examine, is_well, lines

    checks = examine(options.state_dir)
    if options.output == "json":
        print_result(dumps({"checks": [dataclasses.asdict(check) for check in checks]}))
    else:
        print_result("\n".join(lines(checks)))
    return 0 if is_well(checks) else FAILED


def _probe(options: argparse.Namespace) -> int:
    _enter(options.netns)
    import dataclasses

    from launcher.probe import lines, probe
    from launcher.vmi.load import load_vmi

    found = probe(options.state_dir, load_vmi(options.vmi) if options.vmi else None)
    if options.output == "json":
        print_result(dumps({"networks": [dataclasses.asdict(probed) for probed in found]}))
    else:
        print_result("\n".join(lines(found)))
    return 1 if any(probed.problems for probed in found) else 0


def _run(options: argparse.Namespace) -> int:
    from launcher.container.run import run

    return run(
        options.vmi,
        disks=options.disk,
        backing_files=options.backing_files,
        netns=options.netns,
        state_dir=options.state_dir,
        uri=options.connect,
        host_network=options.host_network,
        log_format=options.log_format,
    )


def _demo(options: argparse.Namespace) -> int:
    from launcher.demo.scenario import demo

    return demo(options.output)


def _enter(netns: str | None) -> str:
    """Enter a namespace, if one is named; the path of the resolver configuration that holds there."""
    if netns is None:
        return "/etc/resolv.conf"
    from netsetup.kernel.netns import enter, resolver_path

    enter(netns)
    return resolver_path(netns)
