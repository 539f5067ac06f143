"""Hand a pod's address to a guest and take it back, as a test of another project would. Run it as root.

The guest here is a network namespace whose interface is the other end of `tap0`; a VM would be the same to the hook.
"""

import os
import subprocess
import tempfile

from launcher.prestart import setup_pod_network, teardown_pod_network
from netsetup.discover import discover_pod_network_interface
from netsetup.kernel.netns import enter

NODE, POD, GUEST = (f"example{os.getpid()}-{role}" for role in ("node", "pod", "guest"))
MAC = "0a:58:0a:f4:01:05"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def make_pod() -> None:
    """What a CNI would do: eth0 with an address and a default route; and a tap0 that leads to the guest."""
    for namespace in (NODE, POD, GUEST):
        ip("netns", "add", namespace)
    ip("-n", POD, "link", "add", "eth0", "address", MAC, "type", "veth", "peer", "name", "pod0", "netns", NODE)
    ip("-n", POD, "link", "add", "tap0", "type", "veth", "peer", "name", "eth0", "address", MAC, "netns", GUEST)
    ip("-n", NODE, "address", "add", "10.244.1.1/24", "dev", "pod0")
    ip("-n", POD, "address", "add", "10.244.1.5/24", "dev", "eth0")
    for namespace, link in ((NODE, "pod0"), (POD, "eth0"), (GUEST, "eth0")):
        ip("-n", namespace, "link", "set", link, "up")
    ip("-n", POD, "route", "add", "default", "via", "10.244.1.1")


def ask_for_a_lease() -> str:
    """What a DHCP client in the guest receives."""
    show = "test $1 != bound || echo $ip/$mask via $router, MTU $mtu"
    with tempfile.NamedTemporaryFile("w", suffix=".sh", delete=False) as script:
        script.write(f"#!/bin/sh\n{show}\n")
    os.chmod(script.name, 0o755)
    client = ["busybox", "udhcpc", "-i", "eth0", "-f", "-q", "-n", "-O", "mtu", "-s", script.name]
    try:
        done = subprocess.run(["ip", "netns", "exec", GUEST, *client], check=True, capture_output=True, text=True)
    finally:
        os.unlink(script.name)
    return done.stdout.strip()


def main() -> None:
    make_pod()
    enter(POD)  # this thread, and what it starts, is in the pod from here on
    with tempfile.TemporaryDirectory() as state_dir:
        pod = setup_pod_network(state_dir=state_dir)
        addresses = ", ".join(pod.networks["default"].addresses)
        print(f"handed over in {pod.elapsed_ms['total']:.0f} ms: {addresses}")
        print(f"the guest got {ask_for_a_lease()}")
        teardown_pod_network(state_dir)
    interface = discover_pod_network_interface("eth0")
    print(f"put back: {interface.name} has {interface.addresses[0].cidr} and MAC {interface.link.mac}")


if __name__ == "__main__":
    try:
        main()
    finally:
        for name in (NODE, POD, GUEST):
            subprocess.run(["ip", "netns", "delete", name], check=False)
