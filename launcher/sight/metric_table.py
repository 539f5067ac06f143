"""The metrics: names, what each says, its labels. Pure.

Names follow Prometheus' conventions: base units, `_total` for what only grows, `_info` for labels whose value is 1.
"""

from __future__ import annotations

from typing import Literal

from dhcp.lean.frozen import Frozen

PREFIX = "virt_launcher_"


class Metric(Frozen):
    """One of them."""

    name: str
    """As Prometheus stores it."""
    kind: Literal["gauge", "counter"]
    help: str
    labels: tuple[str, ...] = ()


def _gauge(name: str, help: str, *labels: str) -> Metric:
    return Metric(PREFIX + name, "gauge", help, labels)


def _counter(name: str, help: str, *labels: str) -> Metric:
    return Metric(f"{PREFIX}{name}_total", "counter", help, labels)


TABLE = (
    _gauge(
        "build_info",
        "Always 1; the versions of this program, its control protocol, its record and Python.",
        "version",
        "control_protocol",
        "record",
        "python",
    ),
    _gauge("status_readable", "Whether the pod could be looked at; 0 while a hook works on it for long."),
    _gauge("set_up", "Whether the pod's network is handed to a VM."),
    _gauge("launcher_up", "Whether a `run` has its VM in this pod; absent where that is unknown."),
    _gauge("guest_up", "Whether a VM has the network's guest port open.", "network"),
    _gauge(
        "network_info",
        "Always 1; where a network of the VM is, and which MAC it has.",
        "network",
        "binding",
        "pod_interface",
        "guest_port",
        "mac",
        "mac_source",
    ),
    _gauge("network_mtu_bytes", "The MTU that the VM has on a network.", "network"),
    _gauge("pending_steps", "What is out of place in the pod, as steps that the hook would take again."),
    _gauge("warnings", "What the VM goes without; `status` says what and why."),
    _gauge(
        "lease_held",
        "Whether the guest holds its lease; 0 when it has given it back, or let it end.",
        "network",
        "family",
    ),
    _gauge(
        "lease_renewed_timestamp_seconds",
        "When the guest took its lease or renewed it for the last time.",
        "network",
        "family",
    ),
    _gauge(
        "lease_expiry_timestamp_seconds", "When the lease ends; absent for a lease without an end.", "network", "family"
    ),
    _gauge("dhcp_up", "Whether the DHCP server runs, answers, and is of this version."),
    _gauge("dhcp_start_time_seconds", "When the DHCP server started."),
    _counter(
        "dhcp_answers",
        "Messages sent to the guest, by type: OFFER, ACK, NAK, REPLY, RA and others.",
        "network",
        "message",
    ),
    _counter("dhcp_ignored", "Frames of the guest that got no answer, by cause.", "network", "cause"),
    _counter("dhcp_floods", "Floods of frames that got no answer, which the kernel dropped meanwhile.", "network"),
    _counter("dhcp_send_errors", "Answers that could not be sent.", "network"),
    _counter("dhcp_suppressed_log_lines", "Lines that the server's log left out, because they came too fast."),
    _counter("router_advertisements", "Unsolicited router advertisements sent to the guest.", "network"),
    _counter("dhcp_restarts", "How often the DHCP server was replaced, because it had exited or did not answer."),
    _counter("convergences", "How often the hook took in what had changed in a pod that was set up."),
    _counter("dropped_packets", "Frames and packets of the guest that were dropped, by cause.", "network", "cause"),
    _counter(
        "forwarded_connections",
        "Connections that were forwarded to the guest, by protocol and port.",
        "network",
        "port",
    ),
    _gauge("setup_duration_seconds", "How long the set-up took, by its parts, and in total.", "part"),
    _gauge("teardown_duration_seconds", "How long it took to put the pod back; there at the end of `run` alone."),
)
