"""deploy/pod.yaml under podman: the VM is reached and reaches out as a pod does, is stopped, started and killed."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from lab.podman import IMAGE, ROOT, Podman
from lab.waiting import wait_until
from vm.programs import with_programs

from deploy.for_podman import for_podman
from launcher.demo.guest_image import build_guest

from .guest import FETCH, Machine, boot_guest, limit_memory, prepare_files

pytestmark = [pytest.mark.root, pytest.mark.vm]

GUEST_PORT, NODE_PORT = 80, 8080
PAGE = "page-of-the-guest"
START_DHCP6 = (
    "mkdir -p /var/lib/dhcpv6 && echo 'interface eth0 { send ia-na 0; }; id-assoc na 0 { };"
    " interface eth1 { send ia-na 1; }; id-assoc na 1 { };' >/dhcp6c.conf"
    " && /usr/sbin/dhcp6c -c /dhcp6c.conf eth0 eth1"
)
"""On both NICs: netavark has a published port lead to either of a container's networks, whichever its map has first."""


def documents(podman: Podman) -> list[dict[str, Any]]:
    """The file, with the tests' guest in its place of the disk, and its port published."""
    guest = with_programs(build_guest(), podman.folder, "dhcp6c")
    files = prepare_files(guest, podman.folder / "boot")
    config, pod = yaml.safe_load_all((ROOT / "deploy/pod.yaml").read_text())
    vmi = yaml.safe_load(config["data"]["vmi.yaml"])
    boot_guest(vmi)
    devices = vmi["spec"]["domain"]["devices"]
    del devices["disks"], vmi["spec"]["volumes"]
    devices["interfaces"].append({"name": "second", "bridge": {}})
    vmi["spec"]["networks"].append({"name": "second", "multus": {"networkName": "green"}})
    vmi["status"] = {"interfaces": [{"name": "second", "podInterfaceName": "eth1"}]}
    config["data"]["vmi.yaml"] = yaml.safe_dump(vmi)
    pod["metadata"]["name"] = "machine"
    limit_memory(pod["spec"])["ports"] = [{"containerPort": GUEST_PORT, "hostPort": NODE_PORT}]
    return [made for document in (config, pod) for made in for_podman(document, {"root": str(files)})]


@pytest.fixture(scope="module")
def machine(podman: Podman) -> Machine:
    networks = ("--network", "blue:interface_name=eth0", "--network", "green:interface_name=eth1")
    podman.play(yaml.safe_dump_all(documents(podman)), *networks)
    machine = Machine(podman, "machine-vm")
    machine.await_lease()
    return machine


def serve_page(machine: Machine) -> None:
    """Have the guest take its IPv6 addresses, and serve a page."""
    machine.command(START_DHCP6)

    def has_addresses() -> bool:
        shown = machine.command("ip -6 -o addr show scope global")
        return shown.count("inet6") == len(("blue", "green")) and "tentative" not in shown

    wait_until(has_addresses)
    machine.command(f"mkdir -p /www && echo {PAGE} >/www/index.html && httpd -p {GUEST_PORT} -h /www")


def fetch(podman: Podman, url: str, network: str = "blue") -> str:
    """A page, as another container of the network gets it."""
    get = ("run", "--rm", "--network", network, "--no-healthcheck", "--entrypoint", "python3", f"{IMAGE}:net")
    return podman.run(*get, "-c", FETCH, url).stdout.strip()


def fetch_on_node(podman: Podman, url: str) -> str:
    return podman.node.run(["python3", "-c", FETCH, url]).stdout.strip()


def test_it_is_reached_by_name_and_by_published_port(podman: Podman, machine: Machine) -> None:
    serve_page(machine)
    assert fetch(podman, "http://machine/") == PAGE
    for node in ("10.89.7.1", "[fd00:89:7::1]"):
        assert fetch_on_node(podman, f"http://{node}:{NODE_PORT}/") == PAGE


def test_it_reaches_others(podman: Podman, machine: Machine) -> None:
    serve = ("--entrypoint", "httpd", f"{IMAGE}:net", "-f", "-p", "8000", "-h", "/etc")
    podman.run("run", "--detach", "--name", "other", "--network", "blue", "--no-healthcheck", *serve)
    address = podman.inspect("other")["NetworkSettings"]["Networks"]["blue"]["IPAddress"]
    page = machine.command(rf"printf 'GET /nsswitch.conf HTTP/1.0\r\n\r\n' | nc {address} 8000")
    assert "passwd: files" in page
    assert address in machine.command("nslookup other.dns.podman 10.89.7.1")


def test_it_is_reached_over_ipv6(podman: Podman, machine: Machine) -> None:
    infra = podman.inspect("machine")["InfraContainerID"]
    address = podman.inspect(infra)["NetworkSettings"]["Networks"]["blue"]["GlobalIPv6Address"]
    assert address in machine.command("ip -6 -o addr show dev eth0 scope global")
    assert fetch(podman, f"http://[{address}]/") == PAGE


def test_its_second_network_is_one_of_its_own(podman: Podman, machine: Machine) -> None:
    lease = machine.await_lease("eth1")
    assert lease.fields["address"].startswith("10.89.8.")
    assert fetch(podman, f"http://{lease.fields['address'].partition('/')[0]}/", "green") == PAGE


def test_its_launcher_is_killed_and_takes_over_what_it_finds(podman: Podman, machine: Machine) -> None:
    before, starts = machine.await_lease(), machine.count("started")
    machine.kill_launcher()
    machine.await_event("started", starts + 1)
    after = machine.await_lease()
    assert before.fields["address"] == after.fields["address"]
    serve_page(machine)
    assert fetch(podman, "http://machine/") == PAGE


def test_it_is_stopped_and_started(podman: Podman, machine: Machine) -> None:
    starts = machine.count("started")
    podman.run("pod", "stop", "--time", "60", "machine")
    assert machine.await_event("ended")["how"] == "shut down"
    assert podman.inspect("machine-vm")["State"]["ExitCode"] == 0
    podman.run("pod", "start", "machine")
    machine.await_event("started", starts + 1)
    machine.await_lease()
    serve_page(machine)
    assert fetch(podman, "http://machine/") == PAGE
