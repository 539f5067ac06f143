"""A network of containers as podman makes it: its netavark sets it up, and its aardvark-dns answers for names."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab.namespace import Namespace
from lab.pod import plug_guest

PROGRAMS = Path("/usr/lib/podman")
SUBNET, GATEWAY = "10.89.7.0/24", "10.89.7.1"
DOMAIN = "dns.podman"


class ContainerNetwork:
    """The namespaces of a node and of two containers, `pod` and `database`, and a guest at the former's guest port; a
    context manager."""

    interface = "eth0"

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="vltest-podman-")
        with contextlib.ExitStack() as stack:
            stack.callback(self._directory.cleanup)
            self.node = stack.enter_context(Namespace("node"))
            self.database = stack.enter_context(Namespace("database"))
            self.pod = stack.enter_context(Namespace("pod", resolv_conf=f"search {DOMAIN}\nnameserver {GATEWAY}\n"))
            self.guest = stack.enter_context(Namespace("guest", resolv_conf=""))
            self.addresses = {"database": "10.89.7.2", "pod": "10.89.7.3"}
            for name, address in self.addresses.items():
                self._join(getattr(self, name), name, address)
            self.mac: str = self.pod.link(self.interface)["address"]
            plug_guest(self.pod, self.guest, self.mac)
            self.pod.settle()
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _join(self, container: Namespace, name: str, address: str) -> None:
        folder = Path(self._directory.name)
        request = folder / f"{name}.json"
        request.write_text(json.dumps(_request(name, address)))
        arguments = f"--config {folder} --rootless false --aardvark-binary {PROGRAMS}/aardvark-dns"
        # aardvark-dns stays, and would hold a pipe open
        command = (
            f"exec {PROGRAMS}/netavark {arguments} setup /run/netns/{container.name} <{request} >{folder}/log 2>&1"
        )
        done = self.node.run(["sh", "-c", command], check=False)
        assert done.returncode == 0, (folder / "log").read_text()


def _request(name: str, address: str) -> dict[str, Any]:
    """What podman tells netavark of a container."""
    network = {
        "name": "blue",
        "id": "1" * 64,
        "driver": "bridge",
        "network_interface": "podman7",
        "subnets": [{"subnet": SUBNET, "gateway": GATEWAY}],
        "ipv6_enabled": False,
        "internal": False,
        "dns_enabled": True,
        "ipam_options": {"driver": "host-local"},
    }
    attached = {"static_ips": [address], "interface_name": "eth0", "aliases": [name]}
    return {
        "container_id": f"{name:0<64}",
        "container_name": name,
        "networks": {"blue": attached},
        "network_info": {"blue": network},
    }
