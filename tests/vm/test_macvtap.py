"""A real VM with a macvtap that a CNI made, by the binding of another distribution, beside the pod's own network."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from lab.bridged import dnsmasq_arguments
from lab.lan import ROUTER, join
from lab.pod import MakePod
from lab.shape import GuestNetwork
from lab.waiting import wait_until

from launcher.demo.guest_image import GuestImage, kernel_arguments

from .entrypoint import Entrypoint, assert_lease_line
from .machine import BOOT_SECONDS, manifest

pytestmark = [pytest.mark.vm, pytest.mark.root]

DISTRIBUTION = Path(__file__).parent.parent / "macvtap_binding"
MAC = "02:00:00:00:00:05"
LAN = GuestNetwork(address="192.168.77.50/24", mtu=1400)


def test_the_network_serves_the_guest(make_pod: MakePod, guest: GuestImage) -> None:
    """Link and address; two queues of its device; the pod has the macvtap back afterwards."""
    pod = make_pod(guest_port=False)
    join(pod.node, pod.pod, "net1", "macvtap")
    pod.node.popen(dnsmasq_arguments(LAN, MAC, "lan1", 600))
    document = manifest(
        guest,
        kernel_arguments(),
        cpu={"cores": 2},
        devices={
            "interfaces": [{"name": "default", "bridge": {}}, {"name": "lan", "macvtap": {}, "macAddress": MAC}],
            "networkInterfaceMultiqueue": True,
        },
        networks=[{"name": "default", "pod": {}}, {"name": "lan", "multus": {"networkName": "lan"}}],
    )
    document["metadata"]["annotations"] = {"virt-launcher.io/mac": "pod"}
    with tempfile.TemporaryDirectory(prefix="vltest-") as name:
        machine = Entrypoint(pod, Path(name), document, environment={"PYTHONPATH": str(DISTRIBUTION)})
        wait_until(lambda: len(machine.reports("lease")) == 2, BOOT_SECONDS, log=machine.errors)
        leases = {lease.fields["interface"]: lease for lease in machine.reports("lease")}
        assert_lease_line(leases["eth0"], pod)
        told = [leases["eth1"].fields[name] for name in ("address", "mtu")]
        assert told == [LAN.address, str(LAN.mtu)]
        assert machine.command("cat /sys/class/net/eth1/address") == MAC
        assert machine.command("ls -d /sys/class/net/eth1/queues/tx-*").split()[-1].endswith("tx-1")
        assert "1 packets received" in machine.command(f"ping -c 1 -W 5 {ROUTER}")
        machine.terminate()
        assert machine.await_end() == 0, machine.errors()
        # libvirt gives the device of a VM a queue of its own choice, and the macvtap is still there afterwards
        pod.pod.run(["tc", "qdisc", "delete", "dev", "net1", "root"])
        machine.assert_pod_restored()
