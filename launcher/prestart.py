"""The pre-start hook: discover → plan → apply → serve; and its teardown.

The DHCP server's process is started first, because starting Python takes as long as all the rest together. The phase
`network` is the hook without it: `launcher.phases.keeper` starts one, in a container with other rights.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import time
from typing import TYPE_CHECKING, Literal

from dhcp.daemon.connection import ServerError
from dhcp.lean.frozen import Frozen
from dhcp.process import ServerProcess
from launcher.exit_codes import FAILED, is_typed, log_untyped, message_of
from launcher.phases.result import Network, PodNetwork, network_of
from launcher.phases.server_file import find_server
from launcher.phases.undo import Undo
from launcher.request import SetupRequest
from netsetup.kernel.netns import require_own_namespace, state_directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netsetup.record import Record

__all__ = ["Network", "PodNetwork", "setup_pod_network", "teardown_pod_network"]

log = logging.getLogger("launcher")

DHCP_LOG = "dhcp.log"
BAD_INPUT = 2
"""The exit code of an error that comes before the first change."""


def setup_pod_network(
    request: SetupRequest | None = None,
    *,
    state_dir: str | os.PathLike[str] | None = None,
    resolver_path: str = "/etc/resolv.conf",
    server_log: int | None = None,
    server_log_format: str = "text",
    dry_run: bool = False,
    host_network: bool = False,
    phase: Literal["all", "network"] = "all",
    follows: bool = False,
) -> PodNetwork:
    """Set up the VM's network in the current network namespace, and serve it DHCP.

    Returns when the server answers. On a pod that is set up already it applies only what has changed, and makes sure
    that the server runs. The `request` is `SetupRequest.default()` unless given. The server logs to the descriptor
    `server_log`, or to dhcp.log in the state directory. The machine's own namespace is touched only where
    `host_network` says so.

    The phase `network` leaves the server to `virt-launcher serve`, and lets the request's `owner` read the record.
    A caller that `follows` a pod does not want one set up that is not (NotSetUp), and logs the warnings that are new.

    Raises NetworkSetupError when pod or kernel do not allow it, and ServerError; the pod is then as it was before.
    """
    require_own_namespace(host_network)
    request = request or SetupRequest.default()
    settings = _Settings(
        state_directory(state_dir), resolver_path, server_log, server_log_format, dry_run, host_network, phase, follows
    )
    try:
        return _set_up(request, settings)
    except Exception as failure:
        if getattr(failure, "exit_code", None) != BAD_INPUT:
            raise
        from launcher.phases.requirements import naming_all

        better = naming_all(failure, request, settings.folder, resolver_path, serves=phase == "all")
        if better is failure:
            raise
        raise better from None


class _Settings(Frozen):
    """The arguments of `setup_pod_network` besides the request."""

    folder: str
    resolver_path: str
    server_log: int | None
    server_log_format: str
    dry_run: bool
    host_network: bool
    phase: str
    follows: bool


def _set_up(request: SetupRequest, settings: _Settings) -> PodNetwork:
    began = time.perf_counter()
    folder, dry_run, host_network, phase = settings.folder, settings.dry_run, settings.host_network, settings.phase
    server_log = settings.server_log
    with contextlib.ExitStack() as held, Undo() as on_failure:
        spawned, had_server = None, False
        spawn = functools.partial(_spawn, server_log, settings.server_log_format, folder, on_failure)
        if not dry_run:
            if not os.path.exists(folder):
                on_failure.add(functools.partial(_remove_if_unused, folder))
            if phase == "all":
                had_server, is_current = _find_server(folder)
                spawned = None if is_current else spawn()

        from launcher.dhcpconfig.client import warnings_of
        from launcher.phases.network import prepare
        from launcher.serve import LOCK, serve, server_configs
        from launcher.sight.history import note_convergence, note_setup
        from netsetup.apply import restore_pod_network_interfaces
        from netsetup.errors import NotPermitted
        from netsetup.kernel.lock import NamespaceLock
        from netsetup.kernel.rtnl_messages import boot_seconds

        if not dry_run:
            try:
                held.enter_context(NamespaceLock(LOCK))
            except NotPermitted:  # of another hook that is at work nothing is removed
                on_failure.add(functools.partial(_remove_if_unused, folder))
                raise
            on_failure.add(functools.partial(_remove_if_unused, folder))
            if spawned is not None and server_log is None and not os.path.exists(f"{folder}/{DHCP_LOG}"):
                spawned.stop()  # a teardown, for which we waited, has removed its log
                spawned = None
            if phase == "network":
                from launcher.phases.shared_folder import share

                share(folder, request.owner)
        prepared = prepare(
            request,
            folder,
            settings.resolver_path,
            dry_run=dry_run,
            host_network=host_network,
            follows=settings.follows,
            check=functools.partial(_require_servable, opens_sockets=phase == "all" and not dry_run),
        )
        if prepared.fresh and not dry_run:
            on_failure.add(functools.partial(restore_pod_network_interfaces, folder, host_network=host_network))
        elif not dry_run:
            on_failure.add(functools.partial(_report_set_up, prepared.plan.lines(), had_server, folder))
        applied = time.perf_counter()

        configs = server_configs(prepared.record)
        serves = phase == "all" and not dry_run
        pid = serve(configs, spawn, spawned, find=functools.partial(find_server, folder)) if serves else None
        on_failure.clear()
        served = time.perf_counter()
        elapsed_ms = {
            "discover": round(prepared.discover_ms, 3),
            "plan": round(prepared.plan_ms, 3),
            "apply": round(prepared.apply_ms, 3),
            "serve": round((served - applied) * 1e3, 3),
            "total": round((served - began) * 1e3, 3),
        }
        if prepared.fresh and not dry_run:
            note_setup(folder, elapsed_ms)
        elif not dry_run:
            note_convergence(folder, changed=bool(prepared.plan.lines()))
    warnings = warnings_of(prepared.networks.values(), boot_seconds())
    for line in () if settings.follows else warnings:
        log.warning("%s", line)
    return PodNetwork(
        networks={
            name: network_of(prepared.networks[name], interface) for name, interface in request.interfaces.items()
        },
        dhcp_pid=pid or None,
        elapsed_ms=elapsed_ms,
        plan=tuple(prepared.plan.lines()),
        configs=tuple(configs),
        warnings=(*request.left_out, *warnings),
        fresh=prepared.fresh,
    )


def teardown_pod_network(
    state_dir: str | os.PathLike[str] | None = None, *, host_network: bool = False, under_vm: bool = False
) -> bool:
    """Stop the DHCP server and restore the pod's network; False when nothing was set up.

    A server that cannot be ended does not keep the pod from being restored. Raises NetworkSetupError; its subclass
    NotRestored says what is not restored, and VMRuns that a launcher holds the pod for its VM, unless `under_vm` says
    that it is meant.
    """
    try:
        return _teardown_pod_network(state_dir, host_network, under_vm)
    except Exception as error:
        if getattr(error, "exit_code", FAILED) != FAILED:
            raise
        if not is_typed(error):
            log_untyped(error)
        from netsetup.errors import NotRestored

        raise NotRestored(f"not everything was put back: {message_of(error)}; run teardown again") from error


def _teardown_pod_network(state_dir: str | os.PathLike[str] | None, host_network: bool, under_vm: bool) -> bool:
    from launcher.serve import LOCK
    from netsetup.apply import restore_pod_network_interfaces
    from netsetup.errors import HookBusy, KernelRefused, NotPermitted, NotRestored
    from netsetup.kernel.lock import NamespaceLock

    folder = state_directory(state_dir)
    stopped, left = False, ""

    def stop_server() -> None:  # while its withdrawal of the router still reaches the guest
        nonlocal stopped, left
        try:
            server = find_server(folder)
            if server is not None:
                stopped = True
                server.stop()
        except ServerError as error:
            left = str(error)

    with contextlib.ExitStack() as held:
        try:
            require_own_namespace(host_network)
            if not under_vm:
                from launcher.container.vm_lock import vm_lock

                held.enter_context(vm_lock(folder, "stop it first, or add --force"))
            held.enter_context(NamespaceLock(LOCK))
        except NotPermitted as error:
            from launcher.phases.requirements import MissingNeeds, flags_of

            raise MissingNeeds(
                f"nothing was put back: {error} ({flags_of('NET_ADMIN')}); what another container has set up goes with "
                "the pod"
            ) from None
        except (HookBusy, KernelRefused) as error:
            raise NotRestored(f"nothing was put back: {error}") from None
        try:
            restored = restore_pod_network_interfaces(state_dir, host_network=host_network, before=stop_server)
        except NotRestored:
            if stopped:
                _serve_again(state_dir)
            raise
        _remove_if_unused(folder)
    if left:
        raise NotRestored(f"the pod is as it was, but one process is left: {left}")
    return restored or stopped


def _serve_again(state_dir: str | os.PathLike[str] | None) -> None:
    """Have a server for the VM of a pod that could not be put back, if its port is still there."""
    from launcher.serve import serve, server_configs
    from netsetup.record import read_record

    with contextlib.suppress(Exception), Undo() as on_failure:
        spawn = functools.partial(_spawn, None, "text", state_directory(state_dir), on_failure)
        record = read_record(state_dir)
        if record is not None:
            serve(server_configs(record), spawn)
        on_failure.clear()


def _require_servable(record: Record, *, opens_sockets: bool) -> None:
    """Raises what `require_servable` raises, and NotPermitted where the server could not have its packet sockets."""
    from launcher.serve import require_servable
    from netsetup.errors import NotPermitted
    from netsetup.kernel.capabilities import CAP_NET_RAW, has_capability

    if require_servable(record) and opens_sockets and not has_capability(CAP_NET_RAW):
        raise NotPermitted("DHCP server: open a packet socket", "CAP_NET_RAW")


def _report_set_up(taken: Sequence[str], had_server: bool, folder: str) -> None:
    """Raises NotRestored with what a set-up that failed has changed in a pod that was set up before and stays so."""
    from netsetup.errors import NotRestored

    changed = [f"the pod stays set up, with what had changed: {'; '.join(taken)}"] if taken else []
    if had_server and find_server(folder) is None:
        changed.append("the pod stays set up, without a DHCP server: run prestart again")
    if changed:
        raise NotRestored("; ".join(changed))


def _find_server(folder: str) -> tuple[bool, bool]:
    """Whether a server runs, and whether it is of our version of the control protocol and answers."""
    server = find_server(folder)
    if server is None:
        return False, False
    server.release()
    return True, server.is_current


def _spawn(server_log: int | None, log_format: str, folder: str, on_failure: Undo) -> ServerProcess:
    if server_log is not None:
        process = ServerProcess.spawn(server_log, log_format=log_format)
    else:
        log = _open_log(folder)
        try:
            process = ServerProcess.spawn(log, log_format=log_format)
        except BaseException:
            _remove_if_unused(folder)
            raise
        finally:
            os.close(log)
    on_failure.add(process.stop)
    return process


def _open_log(folder: str) -> int:
    from netsetup.kernel.state_files import open_log

    try:
        return open_log(folder, DHCP_LOG)
    except OSError as error:
        from netsetup.errors import RecordError

        raise RecordError(f"{folder}: {error.strerror}; name another --state-dir") from None


def _remove_if_unused(folder: str) -> None:
    """Remove the server's log, the history and the state directory, unless it holds a record.

    A directory with other files stays.

    Raises NotRestored for what cannot be removed.
    """
    from launcher.phases.shared_folder import DOMAIN_FOLDER, VM_LOCK
    from launcher.sight import history
    from netsetup.record import FILE, UNFINISHED

    if os.path.exists(f"{folder}/{FILE}"):
        return
    with contextlib.suppress(OSError):
        os.rmdir(f"{folder}/{DOMAIN_FOLDER}")
    for name in (DHCP_LOG, UNFINISHED, history.FILE, f"{history.FILE}.new", VM_LOCK):
        try:
            os.unlink(f"{folder}/{name}")
        except OSError as error:
            if not os.path.lexists(f"{folder}/{name}"):
                continue
            from netsetup.errors import NotRestored

            raise NotRestored(f"{folder}/{name} is left: {error.strerror}; remove it") from None
    with contextlib.suppress(OSError):
        os.rmdir(folder)
