"""Requests that look at, and change, the interfaces of the VM that runs: `networks`, `link`, `attach`, `detach`."""

from __future__ import annotations

import functools
import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dhcp.lean.frozen import Frozen, as_dict, replace
from launcher.container.pod_setup import ShuttingDown
from launcher.control.protocol import BadRequest
from launcher.exit_codes import message_of
from launcher.hardware.pci import CONVENTIONAL, is_q35
from netsetup.errors import NotRestored

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from launcher.container.pod_setup import PodSetup
    from launcher.control.protocol import Object
    from launcher.control.server import Handler
    from launcher.machine.hotplug import Hotplug
    from launcher.machine.live_interfaces import LiveInterface
    from launcher.phases.result import Network
    from launcher.request import SetupRequest
    from launcher.vmi.model import InterfaceSpec, VirtualMachineInstance

log = logging.getLogger("launcher")

LINKS = ("up", "down")
CHANGE_SECONDS = 30.0
"""How long a change waits for another one under way."""
NO_NET_ADMIN = (
    "this pod's networks were set up by another container (phase network), and this launcher (phase domain) may not "
    "change them: it needs CAP_NET_ADMIN, as `run` in the phase all has it; start the VM anew with the other set"
)


class Busy(RuntimeError):
    """Another change is under way."""


class _Changes(Frozen):
    """What is to be done to the interfaces, in this order."""

    detached: tuple[str, ...]
    links: dict[str, str]
    attached: tuple[InterfaceSpec, ...]


class RunningInterfaces:
    """The interfaces of the VM that runs; one change at a time."""

    def __init__(
        self,
        vmi: VirtualMachineInstance,
        hotplug: Callable[[], Hotplug],
        request: SetupRequest,
        pod: PodSetup | None,
    ) -> None:
        """`request` is what the VM was started with; `pod` is None where this launcher may not change the network."""
        self._vmi = vmi
        self._make_hotplug = hotplug
        self._first_request = request
        self._pod = pod
        self._lock = threading.Lock()

    @functools.cached_property
    def _hotplug(self) -> Hotplug:
        hotplug = self._make_hotplug()
        hotplug.removed_late = self._removed_late
        return hotplug

    @property
    def _request(self) -> SetupRequest:
        return self._first_request if self._pod is None else self._pod.request

    def handlers(self) -> dict[str, Handler]:
        """By the requests' names."""
        return {"networks": self.networks, "link": self.link, "attach": self.attach, "detach": self.detach}

    def end(self) -> None:
        """The VM ends."""
        if "_hotplug" in vars(self):
            self._hotplug.end()

    def networks(self, _request: Object) -> Object:
        """The VM's name, and its interfaces as they are now. Raises LibvirtError."""
        live = self._hotplug.interfaces()
        listed = [
            {"name": name, "binding": spec.binding, "plugged": name in live, **_as_json(live.get(name))}
            for name, spec in self._request.interfaces.items()
        ]
        return {"vm": self._vmi.name, "networks": listed}

    def link(self, request: Object) -> Object:
        """Set the `link` of the network `name`. Raises BadRequest, Busy and LibvirtError."""
        name, link = self._known(request), request.get("link")
        if link not in LINKS:
            raise BadRequest(f"link must be one of {', '.join(LINKS)}")
        with self._changing():
            self._set_link(name, str(link))
        return {}

    def detach(self, request: Object) -> Object:
        """Unplug the interface of the network `name`, and put the network back.

        Raises BadRequest, Busy, LibvirtError, and NotRestored for an interface that is unplugged and whose network is
        left.
        """
        name = self._known(request)
        self._check_detachable(name)
        with self._changing():
            self._detach(name)
        return {}

    def attach(self, request: Object) -> Object:
        """Have the interfaces be as the manifest in `vmi` has them; others stay. Says what was done.

        Of the manifest only the network's part is read; with `new`, all of its networks must be new ones. Raises
        ManifestError, BadRequest, Busy, LibvirtError and what `PodSetup.converge` does; NotRestored when a part of it
        is done.
        """
        wanted, absent = self._wanted(request.get("vmi"))
        with self._changing():
            if request.get("new") and (known := [name for name in wanted if name in self._request.interfaces]):
                raise BadRequest(f"network {known[0]}: the VM has it already")
            changes = self._changes(wanted, absent)
            done: list[str] = []
            attached: list[Network] = []
            try:
                for name in changes.detached:
                    self._detach(name)
                    done.append(f"{name} detached")
                for name, link in changes.links.items():
                    self._set_link(name, link)
                    done.append(f"{name} {link}")
                for spec in changes.attached:
                    attached.append(self._attach(spec))
                    done.append(f"{spec.name} attached")
            except Exception as failure:
                if not done or isinstance(failure, NotRestored):
                    raise
                raise NotRestored(f"{message_of(failure)}; done before: {', '.join(done)}") from failure
        return {
            "attached": [as_dict(network) for network in attached],
            "detached": list(changes.detached),
            "links": changes.links,
        }

    @contextmanager
    def _changing(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=CHANGE_SECONDS):
            raise Busy("another change of this VM's interfaces is under way; try again")
        try:
            yield
        finally:
            self._lock.release()

    def _known(self, request: Object) -> str:
        name, names = request.get("name"), self._request.interfaces
        if not isinstance(name, str):
            raise BadRequest("name must be that of a network")
        if name not in names:
            raise BadRequest(f"network {name}: the VM has {', '.join(names) or 'none'}")
        return name

    def _wanted(self, document: Any) -> tuple[dict[str, InterfaceSpec], tuple[str, ...]]:
        """The interfaces that a manifest has, and the names of those that it has as `absent`."""
        from launcher.manifest.objects import machines
        from launcher.manifest.shapes import field_at
        from launcher.vmi.load import check_request

        (machine,) = machines([document], "vmi")
        request = check_request(machine)
        if machine.name != self._vmi.name:
            raise BadRequest(f"the manifest is of the VM {machine.name}, and {self._vmi.name} runs here")
        listed = field_at(machine.document, "spec.domain.devices.interfaces") or []
        return dict(request.interfaces), tuple(i["name"] for i in listed if i.get("state") == "absent")

    def _changes(self, wanted: dict[str, InterfaceSpec], absent: Collection[str]) -> _Changes:
        """Raises BadRequest for what cannot be done, before anything is."""
        running, live = self._request.interfaces, self._hotplug.interfaces()
        detached = tuple(name for name in absent if name in running)
        for name in detached:
            self._check_detachable(name)
        links: dict[str, str] = {}
        for name in filter(running.__contains__, wanted):
            spec, now = wanted[name], live.get(name)
            if now is None:
                raise BadRequest(f"network {name}: its interface is not plugged in any more: detach it first")
            _check_same(running[name], now, spec)
            if spec.state != now.link:
                links[name] = spec.state
        new = [wanted[name] for name in wanted if name not in running]
        kept = [_as_it_is(spec, live.get(name)) for name, spec in running.items() if name not in detached]
        _check_distinct([*kept, *new])
        self._check_attachable(new, sum(name in live for name in detached))
        attached, used = [], {i.ordinal for i in running.values()}
        for spec in new:
            ordinal = spec.ordinal if spec.is_primary or spec.ordinal not in used else max(used) + 1
            used.add(ordinal)
            attached.append(replace(spec, ordinal=ordinal))
        return _Changes(detached, links, tuple(attached))

    def _check_attachable(self, new: Collection[InterfaceSpec], gone: int) -> None:
        if not new:
            return
        if self._pod is None:
            raise BadRequest(f"attach: {NO_NET_ADMIN}")
        free = self._hotplug.free_buses()
        q35 = is_q35(self._vmi.machine)
        room = len(free) + gone
        if not room or (q35 and len(new) > room):
            raise BadRequest(
                f"attach: the machine has room for {room} more interfaces, not {len(new)}: detach one, or start the VM "
                "anew with all of them"
            )
        for spec in new:
            if q35 and spec.model in CONVENTIONAL:
                raise BadRequest(
                    f"network {spec.name}: the model {spec.model} cannot be plugged into a {self._vmi.machine} machine "
                    "that runs: use virtio, e1000e or igb"
                )
            bus = int(spec.pci_address.split(":")[1], 16) if spec.pci_address else None
            if q35 and bus is not None and bus not in free and not gone:  # it may be where one goes
                raise BadRequest(
                    f"network {spec.name}: the bus of its pciAddress {spec.pci_address} is not free: leave it out"
                )

    def _check_detachable(self, name: str) -> None:
        if self._pod is None:
            raise BadRequest(f"detach: {NO_NET_ADMIN}")
        if self._request.interfaces[name].is_primary:
            raise BadRequest(f"network {name}: is the VM's primary one, which stays; `link {name} down` cuts it off")

    def _set_link(self, name: str, link: str) -> None:
        self._hotplug.set_link(name, link)
        _log("link", f"network {name}: link {link}", {"network": name, "link": link})

    def _attach(self, spec: InterfaceSpec) -> Network:
        assert self._pod is not None
        network = self._pod.converge(lambda request: _with(request, spec)).networks[spec.name]
        try:
            self._hotplug.plug(network.interface_xml)
        except BaseException as failure:
            self._take_back(spec.name, failure)
            raise
        _log("attached", f"network {spec.name}: attached, {network.pod_interface}", {"network": spec.name})
        return network

    def _take_back(self, name: str, failure: BaseException) -> None:
        assert self._pod is not None
        try:
            self._pod.converge(lambda request: _without(request, name))
        except ShuttingDown:
            return  # all is put back
        except Exception as left:
            raise NotRestored(
                f"{message_of(failure)}; and putting its network back failed: {message_of(left)}; detach {name}"
            ) from failure

    def _detach(self, name: str) -> None:
        assert self._pod is not None
        self._hotplug.unplug(name)
        try:
            self._pod.converge(lambda request: _without(request, name))
        except Exception as failure:
            raise NotRestored(
                f"network {name}: is unplugged, and stays set up: {message_of(failure)}; detach it again"
            ) from failure
        _log("detached", f"network {name}: detached", {"network": name})

    def _removed_late(self, name: str) -> None:
        """The guest has released an interface whose detach was given up: its network goes as well."""
        assert self._pod is not None
        with self._lock:
            try:
                if name not in self._request.interfaces or name in self._hotplug.interfaces():
                    return  # detached again meanwhile, or attached anew
                self._pod.converge(lambda request: _without(request, name))
            except ShuttingDown:
                return  # all is put back
            except Exception as failure:
                why = message_of(failure)
                log.error("network %s: was released late, and stays set up: %s; detach it again", name, why)
                return
        _log("detached", f"network {name}: detached, now that the guest has released it", {"network": name})


def _check_same(running: InterfaceSpec, now: LiveInterface, wanted: InterfaceSpec) -> None:
    """Raises BadRequest for an interface that cannot become what is wanted while it is plugged in."""
    mac = wanted.mac or now.mac
    for what, is_now, asked in (
        ("binding", running.binding, wanted.binding),
        ("model", running.model, wanted.model),
        ("MAC", now.mac, mac),
    ):
        if is_now != asked:
            raise BadRequest(f"network {running.name}: runs with the {what} {is_now}, not {asked}: detach it first")


def _as_it_is(spec: InterfaceSpec, now: LiveInterface | None) -> InterfaceSpec:
    """With the MAC that it has got, where the manifest gives none."""
    return spec if now is None or spec.mac else replace(spec, mac=now.mac)


def _check_distinct(interfaces: list[InterfaceSpec]) -> None:
    """Raises ManifestError for new interfaces with what one that runs has."""
    from launcher.vmi.interfaces import check_distinct

    check_distinct(interfaces)


def _with(request: SetupRequest, spec: InterfaceSpec) -> SetupRequest:
    return replace(request, interfaces={**request.interfaces, spec.name: spec})


def _without(request: SetupRequest, name: str) -> SetupRequest:
    return replace(request, interfaces={n: i for n, i in request.interfaces.items() if n != name})


def _as_json(live: LiveInterface | None) -> dict[str, str]:
    return as_dict(live) if live is not None else {}


def _log(event: str, message: str, data: dict[str, object]) -> None:
    log.info(message, extra={"event": event, "data": data})
