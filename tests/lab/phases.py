"""A pod's containers, each with its rights: mounts, processes and users of its own, the pod's network and one volume.

What a container runtime makes by its own means is made by unshare(1), mount(8) and setpriv(1): the root file system is
read-only, and all there is to write to is the volume, at the default state directory's place.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.namespace import Namespace
from lab.waiting import wait_until

REPOSITORY = Path(__file__).parent.parent.parent
VM_USER = 107
VOLUME = "/run/virt-launcher"
MORE = "/mnt/more"
"""Where a container sees `Volume.more`, what it may read besides."""
_MOUNTS = f"""
set -e
mount -t tmpfs tmpfs /mnt
mkdir /mnt/python /mnt/repository {MORE}
mount --bind {shlex.quote(sys.prefix)} /mnt/python
mount --bind {shlex.quote(str(REPOSITORY))} /mnt/repository
mount --bind "$2" {MORE}
mount -t tmpfs -o mode=755 tmpfs /run
mkdir {VOLUME}
mount --bind "$1" {VOLUME}
for path in /tmp /var/tmp /root; do mount -t tmpfs -o ro,mode=700 tmpfs $path; done
for path in / /mnt /mnt/python /mnt/repository {MORE} /run; do mount -o remount,bind,ro $path; done
cd /
shift 2
exec "$@"
"""
_BARER = f"""
set -e
mount -t tmpfs -o ro tmpfs /dev/net
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -o remount,bind,ro {VOLUME}
exec "$@"
"""
_ENVIRONMENT = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH=/mnt/repository"]


def root(*capabilities: str, groups: Sequence[int] = ()) -> list[str]:
    """Starts a program as root with these capabilities alone, as `capabilities: {drop: [ALL], add: […]}` does."""
    return [*_user(0, 0, groups), f"--bounding-set={_set(capabilities)}", "--inh-caps=-all"]


def user(uid: int, *capabilities: str, groups: Sequence[int] = ()) -> list[str]:
    """Starts a program as another user, with these ambient capabilities alone, without new privileges."""
    sets = [f"--{name}={_set(capabilities)}" for name in ("inh-caps", "ambient-caps", "bounding-set")]
    return [*_user(uid, uid, groups), *sets, "--no-new-privs"]


def _user(uid: int, gid: int, groups: Sequence[int]) -> list[str]:
    listed = f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups"
    return ["setpriv", f"--reuid={uid}", f"--regid={gid}", listed]


def _set(capabilities: Sequence[str]) -> str:
    return ",".join(["-all", *(f"+{name}" for name in capabilities)])


class Volume:
    """A volume that the containers of a pod share, a context manager; with a group as Kubernetes' `fsGroup` has it."""

    def __init__(self, namespace: Namespace, group: int | None = None) -> None:
        self.namespace = namespace
        self._directory = tempfile.TemporaryDirectory(prefix="vltest-")
        self.more = Path(self._directory.name, "more")
        self.path = Path(self._directory.name, "volume")
        for folder in (self.more, self.path):
            folder.mkdir()
        if group is not None:
            os.chown(self.path, -1, group)
            self.path.chmod(0o2777)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._directory.cleanup()

    @property
    def state(self) -> Path:
        """The state directory in it."""
        (found,) = self.path.iterdir()
        return found

    def command(self, rights: Sequence[str], verb: str, *words: str | Path, bare: bool = False) -> list[str | Path]:
        """What runs a verb in a container that ends with it; a `bare` one has what Docker gives it unasked."""
        container = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", _MOUNTS, "sh"]
        program = ["/mnt/python/bin/python", "-m", "launcher", verb]
        barer = ["sh", "-c", _BARER, "sh"] if bare else []
        return [*container, self.path, self.more, *barer, *_ENVIRONMENT, *rights, *program, *words]

    def run(
        self, rights: Sequence[str], verb: str, *words: str | Path, bare: bool = False
    ) -> subprocess.CompletedProcess[str]:
        return self.namespace.run(self.command(rights, verb, *words, bare=bare), check=False, timeout=60)

    def start(self, rights: Sequence[str], verb: str, *words: str | Path) -> Container:
        return Container(self, self.command(rights, verb, *words))


class Container:
    """A container that runs on; a context manager that kills it."""

    def __init__(self, volume: Volume, command: Sequence[str | Path]) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the container
        self._process = volume.namespace.popen(command, stdout=self._log, stderr=self._log)
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        wait_until(children.read_text, log=self.log)
        self.first = int(children.read_text())
        """Its first process, as the test sees it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def is_running(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        """Send a signal to its first process."""
        os.kill(self.first, number)

    def wait(self, seconds: float = 60) -> int:
        """Its exit code."""
        return self._process.wait(seconds)

    def await_log(self, text: str, seconds: float = 30) -> None:
        wait_until(lambda: text in self.log(), seconds, log=self.log)
