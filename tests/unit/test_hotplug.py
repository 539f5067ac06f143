"""Changes of a running VM's interfaces: what is refused before anything is done, and what is undone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from dhcp.lean.frozen import replace
from launcher.container.pod_setup import ShuttingDown
from launcher.control.interfaces import RunningInterfaces
from launcher.control.protocol import BadRequest
from launcher.machine import hotplug
from launcher.machine.hotplug import Hotplug, NotReleased
from launcher.machine.libvirt_root import LibvirtError
from launcher.machine.live_interfaces import LiveInterface, free_buses, live_interfaces, with_link
from launcher.phases.result import Network
from launcher.request import SetupRequest
from launcher.vmi.errors import ManifestError
from launcher.vmi.load import load_document
from netsetup.errors import NotRestored

DOMAIN = """
<domain><devices>
  <controller type='pci' index='0' model='pcie-root'/>
  <controller type='pci' index='1' model='pcie-root-port'><address type='pci' bus='0x00' slot='0x02'/></controller>
  <controller type='pci' index='2' model='pcie-root-port'><address type='pci' bus='0x00' slot='0x03'/></controller>
  <controller type='pci' index='10' model='pcie-root-port'><address type='pci' bus='0x00' slot='0x04'/></controller>
  <interface type='ethernet'><mac address='02:00:00:00:00:01'/><model type='virtio'/><alias name='ua-default'/>
    <address type='pci' bus='0x01' slot='0x00'/></interface>
  <interface type='ethernet'><mac address='02:00:00:00:00:02'/><model type='e1000e'/><link state='down'/>
    <alias name='ua-blue'/><address type='pci' bus='0x0a' slot='0x00'/></interface>
</devices></domain>
"""
CONVENTIONAL = "<domain><devices>{}</devices></domain>"


def document(*interfaces: dict[str, Any]) -> dict[str, Any]:
    networks = [
        {"name": i["name"], **({"pod": {}} if i["name"] == "default" else {"multus": {"networkName": "n"}})}
        for i in interfaces
    ]
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "vm"},
        "spec": {
            "domain": {"memory": {"guest": "64Mi"}, "devices": {"interfaces": list(interfaces)}},
            "networks": networks,
        },
    }


DEFAULT, BLUE, RED = ({"name": name, "bridge": {}} for name in ("default", "blue", "red"))


class Machine:
    """In the place of libvirt and of the pod: what is plugged in, what is set up, and what fails."""

    def __init__(self, *interfaces: dict[str, Any], buses: tuple[int, ...] = (3, 4), has_pod: bool = True) -> None:
        self.vmi = load_document(document(*interfaces))
        self.request = SetupRequest.from_vmi(self.vmi)
        self.live = {
            i.name: LiveInterface("virtio", f"02:00:00:00:00:{n:02}", "up") for n, i in enumerate(self.vmi.interfaces)
        }
        self.buses = buses
        self.failing: dict[str, Exception] = {}
        self.done: list[str] = []
        self.removed_late: Callable[[str], object]
        pod: Any = self if has_pod else None
        self.running = RunningInterfaces(self.vmi, lambda: self, self.request, pod)  # type: ignore[arg-type,return-value]

    def interfaces(self) -> dict[str, LiveInterface]:
        return self.live

    def free_buses(self) -> tuple[int, ...]:
        return self.buses

    def plug(self, name: str) -> None:
        self._do(f"plug {name}")
        self.live[name] = LiveInterface("virtio", "02:00:00:00:01:00", "up")

    def unplug(self, name: str) -> None:
        self._do(f"unplug {name}")
        self.live.pop(name, None)

    def set_link(self, name: str, link: str) -> None:
        self._do(f"{name} {link}")
        self.live[name] = replace(self.live[name], link=link)

    def converge(self, change: Callable[[SetupRequest], SetupRequest]) -> Any:
        request = change(self.request)
        self._do("set up " + " ".join(request.interfaces))
        self.request = request
        networks = {n: Network(n, "bridge", "net1", "", "tap1", "", 1500, (), n) for n in request.interfaces}
        return SimpleNamespace(networks=networks)

    def _do(self, what: str) -> None:
        if what in self.failing:
            raise self.failing[what]
        self.done.append(what)


def test_what_libvirt_says_of_the_interfaces() -> None:
    assert live_interfaces(DOMAIN) == {
        "default": LiveInterface("virtio", "02:00:00:00:00:01", "up"),
        "blue": LiveInterface("e1000e", "02:00:00:00:00:02", "down"),
    }
    for name, link in (("default", "down"), ("blue", "up")):
        element = with_link(DOMAIN, name, link)
        assert element is not None
        (found,) = ElementTree.fromstring(element).findall("link")
        assert found.get("state") == link
    assert with_link(DOMAIN, "red", "up") is None


def test_where_a_device_can_be_plugged_in() -> None:
    assert free_buses(DOMAIN) == (2,)
    slots = "".join(f"<disk><address type='pci' bus='0x00' slot='{n:#x}'/></disk>" for n in range(1, 32))
    assert free_buses(CONVENTIONAL.format("")) == (0,)
    assert free_buses(CONVENTIONAL.format(slots)) == ()


def test_a_manifest_with_more_less_and_other_links() -> None:
    machine = Machine(DEFAULT, BLUE)
    answer = machine.running.attach({"vmi": document({**DEFAULT, "state": "down"}, {**BLUE, "state": "absent"}, RED)})
    assert machine.done == ["unplug blue", "set up default", "default down", "set up default red", "plug red"]
    assert (answer["detached"], answer["links"]) == (["blue"], {"default": "down"})
    assert [network["name"] for network in answer["attached"]] == ["red"]
    machine.done.clear()
    assert machine.running.attach({"vmi": document({**DEFAULT, "state": "down"}, RED)})["attached"] == []
    assert machine.done == []


def test_one_takes_the_place_of_another() -> None:
    machine = Machine(DEFAULT, BLUE, buses=())
    with pytest.raises(BadRequest, match="has room for 0 more interfaces, not 1"):
        machine.running.attach({"vmi": document(DEFAULT, BLUE, RED)})
    swap = document(DEFAULT, {**BLUE, "state": "absent"}, {**RED, "pciAddress": "0000:02:00.0"})
    assert machine.running.attach({"vmi": swap})["detached"] == ["blue"]
    assert "plug red" in machine.done


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([{"name": "red", "bridge": {}, "model": "e1000"}], "model e1000 cannot be plugged into a q35 machine"),
        ([{**RED, "pciAddress": "0000:02:00.0"}], "the bus of its pciAddress 0000:02:00.0 is not free"),
        ([RED, {"name": "a", "bridge": {}}, {"name": "b", "bridge": {}}], "has room for 2 more interfaces, not 3"),
        ([{"name": "blue", "binding": {"name": "fwd"}}], "runs with the binding bridge, not fwd: detach it first"),
        ([{**BLUE, "model": "e1000e"}], "runs with the model virtio, not e1000e"),
        ([{**BLUE, "macAddress": "02:00:00:00:00:77"}], "runs with the MAC 02:00:00:00:00:01, not"),
        ([{**DEFAULT, "state": "absent"}], "is the VM's primary one"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_is_refused_before_anything_is_done(wanted: list[dict[str, Any]], message: str) -> None:
    machine = Machine(DEFAULT, BLUE)
    with pytest.raises(BadRequest, match=message):
        machine.running.attach({"vmi": document(*wanted)})
    assert machine.done == []


def test_other_refusals() -> None:
    machine = Machine(DEFAULT, {**BLUE, "macAddress": "02:00:00:00:00:77"})
    for request, message in (
        ({"vmi": document(BLUE), "new": True}, "network blue: the VM has it already"),
        ({"vmi": document(BLUE) | {"metadata": {"name": "other"}}}, "is of the VM other, and vm runs here"),
    ):
        with pytest.raises(BadRequest, match=message):
            machine.running.attach(request)
    taken = [document({**RED, "macAddress": f"02:00:00:00:00:{mac}"}) for mac in ("77", "00")]  # given, and derived
    for document_ in (None, 1, {}, document({**RED, "state": "silly"}), *taken):
        with pytest.raises(ManifestError):
            machine.running.attach({"vmi": document_})
    with pytest.raises(BadRequest, match="the VM has default, blue"):
        machine.running.detach({"name": "red"})
    for name in (None, 1, ["blue"], {}):
        with pytest.raises(BadRequest, match="name must be that of a network"):
            machine.running.detach({"name": name})
    with pytest.raises(BadRequest, match="primary"):
        machine.running.detach({"name": "default"})
    with pytest.raises(BadRequest, match="link must be one of up, down"):
        machine.running.link({"name": "blue", "link": "sideways"})
    assert machine.done == []


def test_a_launcher_that_may_not_change_the_network() -> None:
    """It sets links all the same."""
    machine = Machine(DEFAULT, BLUE, has_pod=False)
    for action, request in (
        (machine.running.detach, {"name": "blue"}),
        (machine.running.attach, {"vmi": document(DEFAULT, RED)}),
    ):
        with pytest.raises(BadRequest, match="NET_ADMIN"):
            action(request)
    machine.running.link({"name": "blue", "link": "down"})
    machine.running.attach({"vmi": document(DEFAULT, BLUE)})
    assert machine.done == ["blue down", "blue up"]


def test_an_interface_that_libvirt_refuses_is_taken_back() -> None:
    machine = Machine(DEFAULT)
    machine.failing["plug red"] = LibvirtError("no")
    with pytest.raises(LibvirtError):
        machine.running.attach({"vmi": document(DEFAULT, RED)})
    assert machine.done == ["set up default red", "set up default"]
    machine.failing["set up default"] = LibvirtError("neither")
    with pytest.raises(NotRestored, match="no; and putting its network back failed: neither; detach red"):
        machine.running.attach({"vmi": document(DEFAULT, RED)})
    ending = Machine(DEFAULT)
    ending.failing |= {"plug red": LibvirtError("no"), "set up default": ShuttingDown()}
    with pytest.raises(LibvirtError, match=r"^no$"):
        ending.running.attach({"vmi": document(RED)})


def test_what_was_done_before_a_failure_is_said() -> None:
    machine = Machine(DEFAULT)
    machine.failing["plug red"] = LibvirtError("no")
    with pytest.raises(NotRestored, match="no; done before: blue attached"):
        machine.running.attach({"vmi": document(DEFAULT, BLUE, RED)})
    assert machine.done == ["set up default blue", "plug blue", "set up default blue red", "set up default blue"]


def test_a_network_that_cannot_be_put_back_is_said_and_detached_later() -> None:
    machine = Machine(DEFAULT, BLUE)
    machine.failing["set up default"] = LibvirtError("no")
    with pytest.raises(NotRestored, match="network blue: is unplugged, and stays set up: no; detach it again"):
        machine.running.detach({"name": "blue"})
    machine.failing.clear()
    machine.running.detach({"name": "blue"})
    assert machine.done == ["unplug blue", "unplug blue", "set up default"]


def test_a_guest_that_keeps_its_device_keeps_its_network() -> None:
    machine = Machine(DEFAULT, BLUE)
    machine.failing["unplug blue"] = LibvirtError("not released")
    with pytest.raises(LibvirtError, match="not released"):
        machine.running.detach({"name": "blue"})
    assert machine.done == []


def test_a_network_whose_interface_goes_later_goes_too(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine(DEFAULT, BLUE)
    machine.running.networks({})
    machine.removed_late("blue")
    assert machine.done == [], "it is plugged in, anew"
    del machine.live["blue"]
    machine.failing["set up default"] = LibvirtError("no")
    machine.removed_late("blue")
    assert "network blue: was released late, and stays set up: no; detach it again" in caplog.text
    caplog.clear()
    machine.failing["set up default"] = ShuttingDown("told to nobody")
    machine.removed_late("blue")
    assert "told to nobody" not in caplog.text
    machine.failing.clear()
    machine.removed_late("blue")
    assert list(machine.request.interfaces) == ["default"]
    machine.done.clear()
    machine.removed_late("blue")
    assert machine.done == [], "detached meanwhile"


class Guest:
    """A domain of libvirt's whose guest does not answer, and the connection that tells of it."""

    def __init__(self) -> None:
        self.text, self.is_there = DOMAIN, True
        self.requested: Callable[[], object] = lambda: None

    def on_event(self, _number: int, callback: Callable[[str, tuple[str, ...]], None]) -> None:
        self.tell = callback

    def xml(self) -> str:
        if not self.is_there:
            raise LibvirtError("libvirt cannot read the domain's XML: Domain not found")
        return self.text

    def request_removal(self, alias: str) -> None:
        assert alias == "ua-blue"
        self.requested()

    def is_active(self) -> bool:
        return self.is_there

    def release(self) -> None:
        self.text = DOMAIN.replace("ua-blue", "other")
        self.tell("vm", ("ua-blue",))

    def leave(self) -> None:
        self.is_there = False


def plugged(guest: Guest) -> Hotplug:
    return Hotplug(guest, guest, "vm")  # type: ignore[arg-type]


def test_a_removal_that_comes_late_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hotplug, "RELEASE_SECONDS", 0.01)
    guest, told, heard = Guest(), [], threading.Event()
    machine = plugged(guest)

    def hear(name: str) -> None:
        told.append((name, threading.current_thread() is threading.main_thread()))
        heard.set()

    machine.removed_late = hear
    guest.tell("vm", ("ua-blue",))  # nobody has asked for it
    for _ in range(2):
        with pytest.raises(NotReleased, match="stays for now, as does its network: its removal stays requested"):
            machine.unplug("blue")
    guest.tell("other", ("ua-blue",))
    guest.tell("vm", ("ua-default",))
    guest.release()
    assert heard.wait(20)
    guest.release()
    assert told == [("blue", False)]


def test_a_removal_in_time_is_told_by_the_return() -> None:
    guest = Guest()
    machine = plugged(guest)
    machine.removed_late = pytest.fail
    guest.requested = guest.release
    machine.unplug("blue")
    machine.unplug("blue")


@pytest.mark.parametrize("is_told", [True, False])
def test_a_vm_that_ends_while_its_interface_is_unplugged(monkeypatch: pytest.MonkeyPatch, is_told: bool) -> None:
    """Whether or not the launcher has heard of it by then."""
    monkeypatch.setattr(hotplug, "LOOK_SECONDS", 0.01)
    guest = Guest()
    machine = plugged(guest)
    guest.requested = machine.end if is_told else guest.leave
    with pytest.raises(NotReleased, match=r"^interface blue: the VM has ended, and its interfaces with it$"):
        machine.unplug("blue")


def test_what_libvirt_refuses_while_the_vm_runs_is_said() -> None:
    guest = Guest()

    def refuse() -> None:
        raise LibvirtError("no")

    guest.requested = refuse
    with pytest.raises(LibvirtError, match=r"^no$"):
        plugged(guest).unplug("blue")


def test_ordinals_of_networks_that_run_are_not_given_twice() -> None:
    """A manifest with one interface alone does not know how many there are."""
    machine = Machine(DEFAULT, BLUE)
    machine.running.attach({"vmi": document(RED)})
    assert [i.ordinal for i in machine.request.interfaces.values()] == [0, 1, 2]
