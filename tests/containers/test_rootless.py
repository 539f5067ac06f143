"""The hook in a container of an ordinary user: its network is slirp4netns', whose device is called `tap0` itself."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab.podman import IMAGE, Podman
from lab.waiting import kill

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
RunAsUser = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def as_user(podman: Podman) -> Iterator[RunAsUser]:
    """Runs a program as that user, who has the small image."""
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

        def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
            enter = ["nsenter", f"--net={podman.node.path}", "unshare", "--mount", "sh", "-c", _START, "sh"]
            command = [*enter, home, str(USER), *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stdout + done.stderr
            return done

        image = home / "image.tar"
        podman.run("save", "--quiet", "--output", image, f"{IMAGE}:net")
        image.chmod(0o644)
        run("podman", "--storage-driver", "overlay", "load", "--quiet", "--input", image)
        yield run
        for pause in home.glob("run/libpod/tmp/pause.pid"):
            kill(int(pause.read_text()))


def test_the_hook_takes_an_interface_that_is_called_tap0(as_user: RunAsUser) -> None:
    script = (
        "virt-launcher prestart >/tmp/xml && virt-launcher doctor --quick >&2 && virt-launcher status --output json"
        " && virt-launcher teardown && ip -o -4 address show dev tap0 >&2"
    )
    network = ("--network", "slirp4netns", "--cap-add", "NET_ADMIN,NET_RAW", "--device", "/dev/net/tun")
    options = ("--rm", "--no-healthcheck", "--security-opt", "unmask=/proc/sys", "--entrypoint", "sh")
    done = as_user("podman", "--storage-driver", "overlay", "run", *options, *network, f"{IMAGE}:net", "-c", script)
    (found,) = json.loads(done.stdout)["networks"]
    assert (found["pod_interface"], found["address"]) == ("tap0", "10.0.2.100/24")
    assert found["guest_port"] != "tap0"
    assert "inet 10.0.2.100/24" in done.stderr
