"""One run of one VM in this pod: set up the network, boot, watch, shut down, put back."""

from __future__ import annotations

import gc
import logging
import time
from typing import TYPE_CHECKING

from dhcp.lean.frozen import Frozen
from launcher.container.termination import Terminated, Termination

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from launcher.container.dhcp_watchdog import DHCPWatchdog
    from launcher.container.pod_setup import PodSetup
    from launcher.control.interfaces import RunningInterfaces
    from launcher.control.server import ControlServer
    from launcher.following.follower import Follower
    from launcher.manager import AttachedNetworks, Ending
    from launcher.phases.result import PodNetwork
    from launcher.request import SetupRequest
    from launcher.sight.endpoint import Endpoint
    from launcher.sight.metrics import Value
    from launcher.vmi.model import VirtualMachineInstance

log = logging.getLogger("launcher")

STDERR = 2

STOPPING = (
    "received a signal to stop; the guest has %d s to shut down, unless the container's own stop time-out is shorter: "
    "make that longer (docker, podman: --stop-timeout; Kubernetes: terminationGracePeriodSeconds)"
)


class Options(Frozen):
    """The arguments of `run`."""

    images: Mapping[str, str]
    """Path of each disk's image by the disk's name."""
    volumes: str
    backing_files: bool
    netns: str | None
    state_dir: str | None
    uri: str | None
    log_format: str
    host_network: bool
    metrics: str | None
    phase: str
    network_status: str | None


class VMRun:
    """One run of one VM in this pod."""

    endpoint: Endpoint | None = None
    """Where metrics are served."""

    def __init__(
        self,
        vmi: VirtualMachineInstance,
        options: Options,
        folder: str,
        resolver_path: str,
        *,
        shared_folder: str | None = None,
    ) -> None:
        """`folder` is for this machine's files; a `shared_folder` has the record of a pod that is set up."""
        from launcher.guest.log import log_event
        from launcher.manager import LibvirtDomainManager

        self._shared_folder = shared_folder
        self._vmi = vmi
        self._options = options
        self._folder = shared_folder or folder
        self._resolver_path = resolver_path
        self._measured: list[Value] = []
        self._pod: PodSetup | None = None
        self._request: SetupRequest | None = None
        self._interfaces: RunningInterfaces | None = None
        self._control: ControlServer | None = None
        self._watchdog: DHCPWatchdog | None = None
        self._follower: Follower | None = None
        self._found_set_up = False
        self._manager = LibvirtDomainManager(
            vmi,
            state_dir=folder,
            disks=options.images,
            volumes=options.volumes,
            backing_files=options.backing_files,
            uri=options.uri,
            setup=self._set_up,
            teardown=self._put_back,
            on_guest_event=log_event,
        )

    def run_vm(self) -> int:
        """Set up the network, run the VM until it ends, tear down; returns the exit code for how the VM ended."""
        manager, termination = self._manager, Termination()
        ending: Ending | None = None
        termination.listen()
        try:
            with manager:
                try:
                    manager.pre_start_hook()
                    termination.release()
                    self._start()
                    self._serve_requests()
                    self._follow()
                    self._serve_metrics()
                    gc.freeze()  # what was made until now stays
                    gc.enable()
                    ending = manager.wait()
                except Terminated:
                    ending = self._stop()
                finally:
                    termination.hold()
                    self._end_requests()
        except Terminated:
            log.info("received a signal to stop after the VM had ended")
        finally:
            if manager.end_reason:
                log.error("%s", manager.end_reason)
            if ending is not None:
                _event("ended", f"{self._vmi.domain_name} {ending.value}", {"how": ending.value})
        return ending.exit_code if ending is not None else 0

    def _start(self) -> None:
        manager = self._manager
        _event(
            "accelerator",
            f"{manager.accelerator.name.upper()}: {manager.accelerator.reason}",
            {"name": manager.accelerator.name},
        )
        for warning in manager.warnings():
            log.warning("%s", warning)
        began = time.perf_counter()
        manager.start()
        took = (time.perf_counter() - began) * 1e3
        _event("started", f"{self._vmi.domain_name} runs, console in {manager.console_log}", {"ms": took})

    def _serve_requests(self) -> None:
        from launcher.control.interfaces import RunningInterfaces
        from launcher.control.protocol import SOCKET
        from launcher.control.server import serve_requests

        assert self._request is not None
        self._interfaces = RunningInterfaces(self._vmi, self._manager.hotplug, self._request, self._pod)
        handlers = {**self._interfaces.handlers(), "guest": self._manager.guest.answer}
        self._control = serve_requests(str(self._manager.state_dir / SOCKET), handlers)

    def _end_requests(self) -> None:
        if self._interfaces is not None:
            self._interfaces.end()
        if self._control is not None:
            self._control.close()

    def _follow(self) -> None:
        """Once the VM runs, for the same reason as metrics; the first look finds what has changed meanwhile."""
        if self._pod is not None:
            from launcher.following.follower import Follower

            pod = self._pod
            self._follower = Follower(self._folder, pod.files, look=pod.pending, take_in=pod.converge)
            self._follower.start()

    def _serve_metrics(self) -> None:
        """Once the VM runs, so that its start does not share the interpreter with importing the library."""
        if self.endpoint is not None:
            from launcher.sight.exposition import PodCollector

            self.endpoint.serve(PodCollector(self._folder, lambda: iter(self._measured)))

    def _stop(self) -> Ending | None:
        if not self._manager.started:
            log.info("received a signal to stop before the VM was started")
            return None
        log.info(STOPPING, self._vmi.grace_seconds)
        return self._manager.stop()

    def _set_up(self, request: SetupRequest, state_dir: Path) -> AttachedNetworks:
        options, self._request = self._options, request
        if self._shared_folder is not None:
            from launcher.phases.domain import recorded_networks

            if options.network_status is not None:
                from launcher.vmi.network_status import with_network_status

                request = with_network_status(request, options.network_status)
            return recorded_networks(self._shared_folder, request)
        from launcher.container.pod_setup import PodSetup, Settings

        network_status, host_network = options.network_status, options.host_network
        self._pod = PodSetup(
            request,
            Settings(str(state_dir), self._resolver_path, STDERR, options.log_format, host_network, network_status),
        )
        pod = self._pod.converge()
        self._found_set_up = not pod.fresh
        try:
            self._report(pod)
            self._watch(pod)
        except BaseException:
            self._put_back(state_dir)
            raise
        self._pod.changed = self._watch
        return pod

    @staticmethod
    def _report(pod: PodNetwork) -> None:
        """Say what was set up."""
        for network in pod.networks.values():
            addresses = ", ".join(network.addresses) or "no address"
            log.info(
                "network %s: %s (%s), %s binding, VM's MAC %s, MTU %d",
                network.name,
                network.pod_interface,
                addresses,
                network.binding,
                network.mac,
                network.mtu,
            )
        _event("network", f"network ready in {pod.elapsed_ms['total']:.0f} ms", {"elapsed_ms": pod.elapsed_ms})

    def _watch(self, pod: PodNetwork) -> None:
        """Have a watchdog over the server, if there is one."""
        from launcher.container.dhcp_watchdog import DHCPWatchdog
        from launcher.guest.leases import LeaseFollower

        leases = LeaseFollower()

        def follow(report: Mapping[str, object]) -> None:
            for event in leases.news(report):
                self._manager.guest.note(event)

        if self._watchdog is not None and not pod.configs:
            self._watchdog.stop()
            self._watchdog = None
        elif self._watchdog is None and pod.configs:
            self._watchdog = DHCPWatchdog(pod.dhcp_pid, self._folder, STDERR, self._options.log_format, follow)
            self._watchdog.start()

    def _put_back(self, state_dir: Path) -> None:
        if self._shared_folder is not None:
            return  # it is not this container's
        from launcher.prestart import teardown_pod_network

        if self._follower is not None:
            self._follower.stop()
            self._follower = None
        if self._pod is not None:
            self._pod.close()
        if self._watchdog is not None:
            self._watchdog.stop()
            self._watchdog = None
        if self._found_set_up and not self._manager.started:
            log.info("the VM was not started: the pod's network stays set up, as it was found")
            return
        began = time.perf_counter()
        teardown_pod_network(state_dir, host_network=self._options.host_network, under_vm=True)
        took = time.perf_counter() - began
        self._measured.append(("teardown_duration_seconds", (), took))
        _event("restored", "the pod's network is as it was", {"ms": took * 1e3})


def _event(name: str, message: str, data: dict[str, object]) -> None:
    """Log a milestone: `message` as text, `event` and `data` in JSON logs."""
    log.info(message, extra={"event": name, "data": data})
