"""Containers of an ordinary user: their network is slirp4netns', whose device is called `tap0` itself."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.namespace import Namespace
from lab.podman import IMAGE, Engine, Podman
from lab.waiting import kill

from launcher.demo.guest_image import build_guest

from .guest import FETCH, Machine, guest_manifest, prepare_files

pytestmark = pytest.mark.root

USER, SUBORDINATE = 4242, 300_000
LINES = {
    "passwd": f"vltest:x:{USER}:{USER}::{{home}}:/bin/sh",
    "group": f"vltest:x:{USER}:",
    "subuid": f"vltest:{SUBORDINATE}:65536",
    "subgid": f"vltest:{SUBORDINATE}:65536",
}
"""A user whom the machine does not have, with users of its own (subuid(5)), in files that no other process sees."""
_START = """
set -e
for name in passwd group subuid subgid; do mount --bind "$1/$name" /etc/$name; done
mount -t tmpfs -o mode=755 tmpfs /dev/net
mknod -m 666 /dev/net/tun c 10 200
cd "$1/home"
home=$1 user=$2
shift 2
exec setpriv --reuid $user --regid $user --clear-groups env -i PATH=/usr/sbin:/usr/bin HOME=$home/home \
    XDG_RUNTIME_DIR=$home/run CONTAINERS_CONF=$home/containers.conf PODMAN_IGNORE_CGROUPSV1_WARNING=1 "$@"
"""
MACHINE_PORT, NODE_PORT, NODE = 80, 8080, "192.0.2.1"
ALLOWED = (
    *("--cap-add", "NET_ADMIN,NET_RAW"),
    *("--device", "/dev/net/tun"),
    *("--security-opt", "unmask=/proc/sys"),
    *("--no-healthcheck",),
)


class UsersPodman(Engine):
    """podman of that user, who has the large image; containers.conf and the image are in a folder of their own."""

    def __init__(self, node: Namespace, folder: Path) -> None:
        self._node = node
        self.folder = folder

    def run(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """See `Engine.run`."""
        enter = ["nsenter", f"--net={self._node.path}", "unshare", "--mount", "sh", "-c", _START, "sh"]
        command = [*enter, self.folder, str(USER), "podman", "--storage-driver", "overlay", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done


@pytest.fixture(scope="module")
def rootless(podman: Podman) -> Iterator[UsersPodman]:
    with tempfile.TemporaryDirectory(prefix="vltest-") as directory:
        home = Path(directory)
        home.chmod(0o755)
        for name, line in LINES.items():
            known = Path("/etc", name)
            lines = known.read_text() if name in ("passwd", "group") else ""
            (home / name).write_text(f"{lines}{line.format(home=home / 'home')}\n")
        for name in ("home", "run"):
            (home / name).mkdir(mode=0o700)
            os.chown(home / name, USER, USER)
        own = (line for line in (podman.folder / "containers.conf").read_text().splitlines() if "ulimits" not in line)
        (home / "containers.conf").write_text("\n".join(own) + "\n")
        image = home / "image.tar"
        podman.run("save", "--quiet", "--output", image, f"{IMAGE}:full")
        image.chmod(0o644)
        users = UsersPodman(podman.node, home)
        users.run("load", "--quiet", "--input", image)
        yield users
        users.run("rm", "--all", "--force", "--time", "0", check=False)
        for pause in home.glob("run/libpod/tmp/pause.pid"):
            kill(int(pause.read_text()))


def test_the_hook_takes_an_interface_that_is_called_tap0(rootless: UsersPodman) -> None:
    script = (
        "virt-launcher prestart >/tmp/xml && virt-launcher doctor --quick >&2 && virt-launcher status --output json"
        " && virt-launcher teardown && ip -o -4 address show dev tap0 >&2"
    )
    run = ("run", "--rm", "--network", "slirp4netns", *ALLOWED, "--entrypoint", "sh")
    done = rootless.run(*run, f"{IMAGE}:full", "-c", script)
    (found,) = json.loads(done.stdout)["networks"]
    assert (found["pod_interface"], found["address"]) == ("tap0", "10.0.2.100/24")
    assert found["guest_port"] != "tap0"
    assert "inet 10.0.2.100/24" in done.stderr


@pytest.mark.vm
def test_a_machine_is_reached_and_reaches_others(podman: Podman, rootless: UsersPodman) -> None:
    """Its ports are slirp4netns' own to forward: rootlesskit, which is the default, connects to the pod from inside."""
    files = prepare_files(build_guest(), rootless.folder / "boot")
    (files / "vmi.yaml").write_text(json.dumps(guest_manifest()))
    network = ("--network", "slirp4netns:port_handler=slirp4netns", "--publish", f"{NODE_PORT}:{MACHINE_PORT}")
    run = ("run", "--detach", "--name", "machine", *network, *ALLOWED, "--volume", f"{files}:/boot:ro")
    rootless.run(*run, f"{IMAGE}:full", "run", "--vmi", "/boot/vmi.yaml", "--log-format", "json")
    machine = Machine(rootless, "machine")
    assert machine.await_lease().fields["address"] == "10.0.2.100/24"

    podman.node.run(["ip", "address", "add", f"{NODE}/32", "dev", "lo"])
    machine.command(f"mkdir /www && echo page >/www/index.html && httpd -p {MACHINE_PORT} -h /www")
    url = f"http://{NODE}:{NODE_PORT}/"
    assert podman.node.run(["python3", "-c", FETCH, url]).stdout.strip() == "page"
    assert machine.command(f"wget -q -O - {url}") == "page"
    rootless.run("stop", "--time", "60", "machine")
    assert rootless.inspect("machine")["State"]["ExitCode"] == 0
