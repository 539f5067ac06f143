"""A pod whose network is set up by one container and served by another, each with no right but its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from lab.monitor import Monitor
from lab.phases import VM_USER, Container, Volume, root, user
from lab.pod import MakePod, Pod
from lab.rawclient import DISCOVER, RawClient
from lab.rights import assert_no_capability, rights_of
from lab.snapshot import assert_restored, take_snapshot
from lab.waiting import has_ended, kill, wait_until

from netsetup.kernel.capabilities import CAP_NET_RAW, CAP_SETGID, CAP_SETUID

pytestmark = pytest.mark.root

GROUPS = [VM_USER]
NETWORK = root("net_admin", groups=GROUPS)
SERVE = root("net_raw", groups=GROUPS)
HELPER = root("net_admin")
"""Whoever looks from outside, as `kubectl debug --profile=netadmin` does."""
SETUP = ("prestart", "--phase", "network", "--owner", str(VM_USER))


@pytest.fixture
def volume(pod: Pod) -> Iterator[Volume]:
    with Volume(pod.pod, group=VM_USER) as volume:
        yield volume


def set_up(volume: Volume, rights: Sequence[str] = NETWORK) -> None:
    done = volume.run(rights, *SETUP)
    assert (done.returncode, done.stderr) == (0, "")


def server_of(pod: Pod) -> int:
    """The pid of the one server in a pod."""
    (found,) = (p for p in pod.pod.processes() if b"--control-fd" in Path(f"/proc/{p}/cmdline").read_bytes())
    return found


def offered(pod: Pod) -> list[tuple[str, str]]:
    """The address and the routes that the guest is offered; none when nobody answers."""
    pod.guest.ip("link set eth0 up")
    with RawClient(pod.guest) as client:
        offers = client.replies(client.message(DISCOVER, [(55, bytes([121]))]))
    return [pair for offer in offers for pair in ((offer.yiaddr, ""), *offer.routes())]


def put_back(pod: Pod, volume: Volume, rights: Sequence[str] = NETWORK) -> None:
    pod.guest.ip("link set eth0 down")
    done = volume.run(rights, "teardown")
    assert (done.returncode, done.stderr) == (0, "")


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def await_server(pod: Pod, container: Container, *, other_than: int = 0) -> int:
    wait_until(lambda: offered(pod), log=container.log)
    assert server_of(pod) != other_than
    return server_of(pod)


@pytest.mark.parametrize(
    ("group", "network", "serve", "look"),
    [
        (VM_USER, NETWORK, SERVE, HELPER),
        (None, root("net_admin", "chown"), root("net_raw"), HELPER),
        (None, root("net_admin", "chown"), root("net_raw", "setuid", "setgid"), HELPER),
        (VM_USER, user(VM_USER, "net_admin"), user(VM_USER, "net_raw"), user(VM_USER, "net_admin")),
        (VM_USER, NETWORK, user(VM_USER + 1, "net_raw", groups=GROUPS), None),
    ],
    ids=["volume of a group", "CHOWN", "a user of the server's own", "ambient", "another user"],
)
def test_each_with_its_own_rights(
    pod: Pod, group: int | None, network: Sequence[str], serve: Sequence[str], look: Sequence[str] | None
) -> None:
    """A guest is served; news of the record are followed, a killed server is replaced, and the pod is put back."""
    before = take_snapshot(pod.pod)
    with Volume(pod.pod, group) as volume:
        if "--reuid=107" in network:
            os.chown(volume.path, VM_USER, VM_USER)
        set_up(volume, network)
        with volume.start(serve, "serve") as container:
            server = await_server(pod, container)
            assert_no_capability(server, bounding=True)
            (keeper,) = children(container.first)
            assert_no_capability(container.first, bounding=True)
            kept = 1 << CAP_NET_RAW | (1 << CAP_SETUID | 1 << CAP_SETGID if "+setuid" in str(serve) else 0)
            assert rights_of(keeper)["CapPrm"] == [f"{kept:016x}"]
            assert rights_of(keeper)["NoNewPrivs"] == ["1"]
            if look:
                status = volume.run(look, "status")
                assert "DHCP: server whose pid is unknown here\n" in status.stdout, status
                assert "  tap0: answered 1 OFFER; ignored nothing\n" in status.stdout, status
            pod.pod.ip("route add 10.77.0.0/16 dev eth0")
            set_up(volume, network)
            wait_until(lambda: ("10.77.0.0/16", "0.0.0.0") in offered(pod), log=container.log)
            assert server_of(pod) == server
            kill(server)
            await_server(pod, container, other_than=server)
            container.signal(signal.SIGTERM)
            assert container.wait() == 0
            assert "Traceback" not in container.log()
        assert pod.pod.processes() == []
        put_back(pod, volume, network)
        pod.pod.ip("route del 10.77.0.0/16")
        assert_restored(pod.pod, before)
        assert list(volume.path.iterdir()) == []


def test_it_waits_for_the_pod_and_outlives_a_teardown(pod: Pod, volume: Volume) -> None:
    before = take_snapshot(pod.pod)
    with volume.start(SERVE, "serve", "--metrics", "127.0.0.1:9400") as container:
        set_up(volume)
        await_server(pod, container)
        put_back(pod, volume)
        wait_until(lambda: len(pod.pod.processes()) == 3, log=container.log)  # the container's, without a server
        assert_restored(pod.pod, before)
        set_up(volume)
        await_server(pod, container)
        status = volume.run(SERVE, "status")
        assert "  tap0: answered 1 OFFER; ignored nothing" in status.stdout, status
        assert "without CAP_NET_ADMIN it is not seen what would be done" in status.stdout
        pod.pod.ip("link set lo up")
        measured = pod.pod.run(["busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:9400/"]).stdout
        for line in ("status_readable 1.0", "dhcp_up 1.0", 'dhcp_answers_total{message="OFFER",network="default"} 1.0'):
            assert f"\nvirt_launcher_{line}\n" in measured
        assert [name for name in ("dropped_packets", "pending_steps", "launcher_up") if name in measured] == []
        refused = volume.run(SERVE, "serve")
        assert refused.returncode == 2
        assert refused.stderr.endswith(": another `serve` looks after this pod's DHCP server already\n")


def test_it_says_what_to_do_first(pod: Pod, volume: Volume) -> None:
    refused = volume.run(SERVE, "serve", "--wait", "0.1")
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert "after 0.1 s; run `virt-launcher prestart --phase network` in this pod first" in line
    refused = volume.run(root(), "serve", "--wait", "0.1")
    assert (refused.returncode, "CAP_NET_RAW, to open a packet socket (Docker, " in refused.stderr) == (2, True)


def test_a_volume_that_cannot_be_shared_is_refused(pod: Pod) -> None:
    """As root without CAP_CHOWN, on a volume that is of no group of the pod's."""
    with Volume(pod.pod) as volume, Monitor(pod.pod) as monitor:
        refused = volume.run(root("net_admin"), *SETUP)
        assert refused.returncode == 2
        assert "the container needs CAP_CHOWN, or a volume whose group" in refused.stderr
        assert monitor.events() == []
        assert list(volume.path.iterdir()) == []


SQUAT = """
import os, socket, sys
os.setresuid(12345, 12345, 12345)
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind("\\0" + sys.argv[1])
listener.listen(9)
print("bound", flush=True)
while connection := listener.accept()[0]:
    try:
        connection.send(b"{}")
    except OSError:
        pass
"""


def test_who_takes_the_name_of_a_killed_server_is_no_server(pod: Pod, volume: Volume) -> None:
    """Everybody in the pod can read the name in /proc/net/unix, and take it once it is free."""
    set_up(volume)
    with volume.start(SERVE, "serve") as container:
        server = await_server(pod, container)
        name = (volume.state / "server").read_text().strip()
    assert has_ended(server)
    squatter = pod.pod.popen([sys.executable, "-c", SQUAT, name], stdout=subprocess.PIPE)
    assert squatter.stdout
    assert squatter.stdout.readline() == "bound\n"
    assert "DHCP: no server\n" in volume.run(HELPER, "status").stdout
    with volume.start(SERVE, "serve") as container:
        wait_until(lambda: offered(pod), log=container.log)
        assert "of user 12345 has a name that DHCP servers use; it is ignored" in container.log(), container.log()
        assert "tap0: answered" in volume.run(HELPER, "status").stdout


def test_all_that_is_missing_is_named_at_once(make_pod: MakePod) -> None:
    pod = make_pod(guest_port=False)
    with Volume(pod.pod) as volume, Monitor(pod.pod) as monitor:
        refused = volume.run(root(), "prestart", bare=True)
        assert monitor.events() == []
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    things = line.removeprefix("virt-launcher: error: the container lacks 5 things: ").split("); ")
    assert [thing.partition(" (")[0].partition(": ")[0] for thing in things] == [
        "CAP_NET_ADMIN",
        "CAP_NET_RAW",
        "/dev/net/tun",
        "a writable /proc/sys, to set net.ipv6.conf.k6t-eth0.disable_ipv6=1, net.ipv6.conf.tap0.disable_ipv6=1, "
        "net.ipv6.conf.eth0.disable_ipv6=1",
        "a state directory",
    ]
    for thing in things:
        assert all(word in thing for word in ("Docker", "Podman", "Kubernetes"))


def test_a_teardown_that_is_not_allowed_says_so(pod: Pod, volume: Volume) -> None:
    set_up(volume)
    before = take_snapshot(pod.pod)
    refused = volume.run(SERVE, "teardown")
    assert refused.returncode == 2
    assert "CAP_NET_ADMIN (Docker, Podman: --cap-add NET_ADMIN;" in refused.stderr
    assert_restored(pod.pod, before)


SCRAPE = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9399/metrics', timeout=30).read().decode())"


@pytest.mark.parametrize("keeps", [True, False])
def test_news_on_request(pod: Pod, volume: Volume, keeps: bool) -> None:
    set_up(volume)
    rights, flags = (root("net_admin", "net_raw", groups=GROUPS), ["--keep-admin"]) if keeps else (SERVE, [])
    with volume.start(rights, "serve", "--metrics", "9399", *flags) as container:
        await_server(pod, container)
        metrics = pod.pod.run([sys.executable, "-c", SCRAPE]).stdout
        assert 'virt_launcher_setup_duration_seconds{part="total"}' in metrics
        assert ("virt_launcher_dropped_packets_total{" in metrics) == keeps, "what is not seen is not said to be none"
        pod.pod.ip("route add 10.77.0.0/16 dev eth0")
        container.signal(signal.SIGHUP)
        if keeps:
            wait_until(lambda: ("10.77.0.0/16", "0.0.0.0") in offered(pod), log=container.log)
        else:
            container.await_log("not taken in: this takes `serve --keep-admin`, and CAP_NET_ADMIN")
        container.signal(signal.SIGTERM)
        assert container.wait() == 0
