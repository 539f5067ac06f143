"""The server as a process: start, configuration, reconfiguration, requests, stop, and its privileges."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from exchange import CONFIG
from lab.agent import control_address
from lab.namespace import Namespace
from lab.rawclient import decode_reply
from lab.requests import (
    ACK,
    CLIENT,
    CLIENT_MAC,
    DISCOVER,
    NAK,
    SERVER,
    arp,
    discover,
    frame,
    payload,
    renewing,
)
from lab.rights import assert_no_capability, assert_own_user, rights_of
from lab.sniffer import Sniffer
from lab.waiting import PATIENCE, has_ended, wait_until
from link import TAP0, Link
from scapy.layers.inet import UDP
from scapy.layers.l2 import Ether

import dhcp
from dhcp.config import ConfigError
from dhcp.daemon.connection import ServerError, connect
from dhcp.io.sockets import TransportError
from dhcp.process import ServerProcess
from dhcp.server import SingleClientDHCPServer

pytestmark = pytest.mark.root

PACKAGE = str(Path(dhcp.__file__).parent)


@pytest.fixture
def process(link: Link) -> Iterator[ServerProcess]:
    with link.pod.entered():
        process = ServerProcess.spawn(None)
        process.configure([TAP0])
    yield process
    process.stop()


def test_it_answers_once_configured(link: Link, process: ServerProcess) -> None:
    assert link.ask(discover()) == [2]


def test_it_keeps_no_right_and_no_descriptor_it_does_not_need(process: ServerProcess) -> None:
    assert_no_capability(process.pid)
    assert_own_user(process.pid)
    descriptors = Path(f"/proc/{process.pid}/fd")
    targets = sorted(os.readlink(entry).partition(":")[0] for entry in descriptors.iterdir())
    # standard streams; epoll; the socket that owns the table, listener, this connection, the packet socket, the kill
    # socket, and the pair by which a signal wakes it
    expected = ["/dev/null"] * 3 + ["anon_inode"] + ["socket"] * 7
    expected.append(PACKAGE)  # what it may import later, as another user
    assert targets == sorted(expected)
    assert os.getsid(process.pid) == process.pid


def test_the_log_is_the_only_file_that_it_can_write_to(link: Link, tmp_path: Path) -> None:
    """Also after another configuration, which comes in a file. Its package's folder is open for reading."""
    log = tmp_path / "dhcp.log"
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with link.pod.entered():
        process = ServerProcess.spawn(fd)
        process.configure([TAP0])
        process.configure([{**TAP0, "mtu": 1300}])
    os.close(fd)
    held = {int(entry.name): os.readlink(entry) for entry in Path(f"/proc/{process.pid}/fd").iterdir()}
    files = {number: target for number, target in held.items() if target.startswith("/")}
    later = {number: target for number, target in files.items() if target == PACKAGE}
    assert len(later) == 1
    assert files == {0: "/dev/null", 1: "/dev/null", 2: str(log), **later}
    assert {target.partition(":")[0] for target in set(held.values()) - set(files.values())} == {"anon_inode", "socket"}
    for number in (0, *later):
        flags = Path(f"/proc/{process.pid}/fdinfo/{number}").read_text().split("flags:")[1].split()[0]
        assert int(flags, 8) & os.O_ACCMODE == os.O_RDONLY
    process.stop()


def test_it_starts_alone_and_holds_no_more_of_python_than_it_needs(link: Link, process: ServerProcess) -> None:
    """Isolated from the environment and from site-packages; no library except the interpreter's own."""
    words = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
    assert {b"-I", b"-S"} <= set(words)
    for _ in range(3):
        link.ask(discover())
        link.ask(renewing("10.0.0.9"))
    mapped = {Path(line.split()[-1]).name for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines()}
    objects = {name.partition(".")[0] for name in mapped if ".so" in name}
    assert objects <= {"ld-linux-x86-64", "libc", "libm", "libz", "libexpat", "libffi", "_ctypes", "_json"}


def test_its_memory_is_bounded(process: ServerProcess) -> None:
    rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    pss = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    assert pss < 9 * 1024


def test_a_caller_finds_it_by_the_namespace(link: Link, process: ServerProcess) -> None:
    with link.pod.entered():
        connection = connect()
    assert connection is not None
    assert connection.pid == process.pid
    connection.release()
    assert connect() is None  # this namespace has none


def test_it_outlives_its_parent_once_configured(link: Link) -> None:
    program = (
        "import sys, json; from dhcp.process import ServerProcess\n"
        "p = ServerProcess.spawn(None); p.configure(json.loads(sys.argv[1])); p.release(); print(p.pid)"
    )
    printed = link.pod.run([sys.executable, "-c", program, json.dumps([TAP0])]).stdout
    assert link.ask(discover()) == [2]
    with link.pod.entered():
        connection = connect()
    assert connection is not None
    assert connection.pid == int(printed)
    connection.stop()
    assert has_ended(int(printed))
    with link.pod.entered():
        assert connect() is None


def test_it_ends_when_its_parent_goes_before_configuring(link: Link) -> None:
    with link.pod.entered():
        process = ServerProcess.spawn(None)
    process.release()
    assert has_ended(process.pid)
    os.waitpid(process.pid, 0)


def test_stop_waits_until_it_is_gone_and_may_be_repeated(link: Link) -> None:
    with link.pod.entered():
        process = ServerProcess.spawn(None)
        process.configure([TAP0])
        process.stop()
        assert not Path(f"/proc/{process.pid}").exists()
        process.stop()
        again = ServerProcess.spawn(None)
        again.configure([TAP0])
        again.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_cleanly(process: ServerProcess, number: int) -> None:
    os.kill(process.pid, number)
    _, status = os.waitpid(process.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_server_that_does_not_listen_is_killed(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dhcp.daemon.connection.TIMEOUT", 0.2)
    with link.pod.entered():
        process = ServerProcess.spawn(None)
    os.kill(process.pid, signal.SIGSTOP)
    process.stop()
    assert not Path(f"/proc/{process.pid}").exists()


def test_a_killed_server_is_noticed(process: ServerProcess) -> None:
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(ServerError, match="DHCP server"):
        process.status()


def test_two_servers_do_not_share_a_namespace(link: Link, process: ServerProcess) -> None:
    with link.pod.entered():
        second = ServerProcess.spawn(None)
        with pytest.raises(ServerError, match="another server serves this network namespace"):
            second.configure([TAP0])
        second.stop()
    assert link.ask(discover()) == [2]


def test_reload_misses_no_frame(link: Link, process: ServerProcess) -> None:
    """Requests are sent without a pause while the configuration changes a hundred times; each is answered."""
    wanted, answered = 0, []
    for number in range(100):
        for _ in range(5):
            link.socket.send(discover(xid=wanted))
            wanted += 1
        with link.pod.entered():
            process.configure([{**TAP0, "mtu": 1300 + number}])
        for _ in range(5):
            answered.append(int.from_bytes(link.socket.recv(2048)[46:50]))
    assert answered == list(range(wanted))


def test_reload_changes_the_address(link: Link, process: ServerProcess) -> None:
    assert link.ask(renewing(CLIENT)) == [ACK]
    with link.pod.entered():
        connection = connect()
        assert connection is not None
        connection.configure([{**TAP0, "client_address": "10.0.0.3/24"}])
        connection.release()
    assert link.ask(renewing(CLIENT)) == [NAK, NAK]


def test_interfaces_come_and_go(link: Link, process: ServerProcess) -> None:
    other_mac = "52:54:00:0a:00:22"
    link.add("tap1", "eth1", other_mac)
    tap1 = {**TAP0, "interface": "tap1", "client_mac": other_mac, "client_address": "10.0.0.22/24"}
    second = link.guest_socket("eth1")
    with link.pod.entered():
        process.configure([TAP0, tap1])
        second.send(discover(chaddr=other_mac))
        reply = decode_reply(second.recv(2048))
        assert reply is not None
        assert reply.yiaddr == "10.0.0.22"
        assert link.ask(discover()) == [2]
        process.configure([tap1])
        assert link.ask(discover(), timeout=0.2) == []
        second.send(discover(chaddr=other_mac))
        assert decode_reply(second.recv(2048))
    second.close()


def test_a_port_that_was_made_anew_is_served_again(link: Link, process: ServerProcess) -> None:
    link.pod.ip("link delete tap0")
    link.socket.close()
    link.add("tap0", "eth0", CLIENT_MAC)
    link.socket = link.guest_socket("eth0")
    with link.pod.entered():
        process.configure([TAP0])
    assert link.ask(discover()) == [2]


def test_a_port_that_was_down_is_served_when_it_is_up(link: Link, process: ServerProcess) -> None:
    link.pod.ip("link set tap0 down", "link set tap0 up")
    link.guest.ip("link set eth0 up")
    link.guest.await_up("eth0")
    assert link.ask(discover()) == [2]


def test_refusals_change_nothing(link: Link, process: ServerProcess) -> None:
    with link.pod.entered():
        with pytest.raises(ConfigError, match=r"^\[0\]\.options\.224: "):
            process.configure([{**TAP0, "options": {"224": ""}}])
        with pytest.raises(TransportError, match="tap9: "):
            process.configure([{**TAP0, "interface": "tap9"}])
    assert link.ask(discover()) == [2]


def logging_to(log: Path, link: Link) -> ServerProcess:
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with link.pod.entered():
        process = ServerProcess.spawn(fd, log_format="json")
        process.configure([TAP0])
    os.close(fd)
    return process


def test_a_foreign_mac_is_warned_about_once_with_both(link: Link, tmp_path: Path) -> None:
    log = tmp_path / "dhcp.log"
    process = logging_to(log, link)
    for _ in range(5):
        link.socket.send(discover(chaddr="52:54:00:ff:ff:ff"))
    link.ask(discover())
    process.stop()
    (warning,) = [json.loads(line) for line in log.read_text().splitlines() if '"warning"' in line]
    assert {"52:54:00:ff:ff:ff", CLIENT_MAC} <= {str(value) for value in warning["data"].values()}


def test_a_foreign_mac_is_warned_about_among_more_messages_than_lines(link: Link, tmp_path: Path) -> None:
    log = tmp_path / "dhcp.log"
    process = logging_to(log, link)
    for number in range(300):
        link.socket.send(discover(xid=number))
        if number % 60 == 59:
            time.sleep(0.05)
    link.socket.send(discover(chaddr="52:54:00:ff:ff:ff"))
    link.ask(discover())
    process.stop()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert any(line["event"] == "suppressed" for line in lines)
    assert [line["data"]["client"] for line in lines if line["event"] == "foreign-mac"] == ["52:54:00:ff:ff:ff"]


def test_status_counts_by_cause_and_lists_transactions(link: Link, process: ServerProcess) -> None:
    link.ask(discover())
    link.ask(renewing("10.0.0.9"))
    link.socket.send(discover(chaddr="52:54:00:ff:ff:ff"))
    link.ask(discover())
    status = process.status()
    assert status["pid"] == process.pid
    assert status["ports"] == [
        {
            "interface": "tap0",
            "answered": {"NAK": 1, "OFFER": 2},
            "ignored": {"foreign-mac": 1},
            "leases": [],
            "floods": 0,
            "send_errors": 0,
        }
    ]
    transactions = status["transactions"]
    assert isinstance(transactions, list)
    assert [entry["answer"] for entry in transactions] == ["OFFER", "NAK", "OFFER"]
    assert transactions[1]["reason"] == "renewing: ciaddr is 10.0.0.9, not 10.0.0.2"


def test_the_log_is_a_line_each_in_a_file_of_its_own(link: Link, tmp_path: Path) -> None:
    log = tmp_path / "dhcp.log"
    process = logging_to(log, link)
    link.ask(discover())
    process.stop()
    events = [json.loads(line) for line in log.read_text().splitlines()]
    told = [(event["event"], event["data"].get("answer")) for event in events]
    assert told == [("configured", None), ("dhcp", "OFFER")]


@pytest.mark.parametrize(
    "message", [b"", b"x", b"[]", b'{"op":"fly"}', b'{"op":"configure"}', b'{"op":"configure","interfaces":["tap0"]}']
)
def test_nonsense_on_the_control_socket_changes_nothing(link: Link, process: ServerProcess, message: bytes) -> None:
    with link.pod.entered():
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(control_address(link.pod))
    sock.settimeout(PATIENCE)
    sock.send(message)
    answer = sock.recv(4096)
    assert answer == b"" or b'"error"' in answer
    sock.close()
    assert link.ask(discover()) == [2]


@pytest.mark.parametrize("user", [1, None], ids=["daemon", "its own"])
def test_only_root_and_its_owner_may_speak_to_it(link: Link, process: ServerProcess, user: int | None) -> None:
    """Not even other processes of the user as which it runs."""
    user = user or int(rights_of(process.pid)["Uid"][0])
    program = (
        f"import os, socket, sys; os.setgid({user}); os.setuid({user})\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        "s.connect(b'\\0' + sys.argv[1].encode()); s.settimeout(30)\n"
        'try: s.send(b\'{"op":"stop"}\'); print(s.recv(100))\n'
        "except OSError: print(b'')"
    )
    address = control_address(link.pod)[1:].decode()
    assert link.pod.run(["/usr/bin/python3", "-c", program, address]).stdout == "b''\n"
    assert link.ask(discover()) == [2]


# On the wire


def test_vlan_tagged_frames_meet_silence(link: Link, process: ServerProcess) -> None:
    """The tag is in the frame as the guest sends it, and in the packet's metadata as the server receives it."""
    plain = discover()
    for tag in (b"\x81\0\0\x05", b"\x81\0\0\0", b"\x88\xa8\0\x05", b"\x88\xa8\0\x05\x81\0\0\x06"):
        assert link.ask(plain[:12] + tag + plain[12:], timeout=0.15) == []
    assert link.ask(plain) == [2]


@pytest.mark.parametrize("tag", [b"\x81\0\0\x05", b"\x81\0\0\0", b"\x88\xa8\0\x05"], ids=["vlan", "priority", "s-tag"])
def test_tagged_arp_meets_silence(link: Link, process: ServerProcess, tag: bytes) -> None:
    with link.pod.entered():
        process.configure([{**TAP0, "neighbours": {"169.254.1.1": "ee:ee:ee:ee:ee:ee"}}])
    plain = arp(1, "169.254.1.1")
    link.socket.settimeout(0.15)
    link.socket.send(plain[:12] + tag + plain[12:])
    with pytest.raises(TimeoutError):
        link.socket.recv(2048)
    link.socket.send(plain)
    assert link.socket.recv(2048)[12:14] == b"\x08\x06"


def test_a_renewal_from_a_kernel_socket_is_served(link: Link, process: ServerProcess) -> None:
    """Its UDP checksum is partial, and no hardware completes it."""
    link.guest.ip(f"addr add {CLIENT}/24 dev eth0", f"neigh replace {SERVER} lladdr 02:00:00:00:00:01 dev eth0")
    with link.guest.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((CLIENT, 68))
    sock.settimeout(PATIENCE)
    with Sniffer(link.pod, "tap0") as heard:
        sock.sendto(payload(3, ciaddr=CLIENT), (SERVER, 67))
        reply, (address, port) = sock.recvfrom(2048)
        request = heard.wait_for(lambda frame: not frame.outgoing and frame.is_dhcp())
    sock.close()
    fresh = request.packet()
    del fresh[UDP].chksum
    assert Ether(bytes(fresh))[UDP].chksum != request.packet()[UDP].chksum, "the kernel has completed it"
    assert (reply[0], reply[16:20], address, port) == (2, bytes((10, 0, 0, 2)), SERVER, 67)


def test_v4_27_nothing_crosses_to_or_from_the_uplink(link: Link, process: ServerProcess) -> None:
    """Choice: only the guest port is served, and replies are sent there only."""
    with Namespace("node") as node:
        link.pod.ip(
            "link add br0 type bridge forward_delay 0",
            f"link add eth0 type veth peer name uplink netns {node.name}",
            "link set eth0 master br0",
            "link set tap0 master br0",
            "link set br0 up",
            "link set eth0 up",
        )
        node.ip("link set uplink up")
        with node.entered():
            uplink = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        uplink.bind(("uplink", 0x0800))
        uplink.settimeout(0.2)
        node.await_up("uplink")
        wait_until(lambda: link.pod.link("br0")["operstate"] == "UP")
        uplink.send(frame(payload(DISCOVER, xid=1), source_mac="02:00:00:00:00:77"))
        assert link.ask(discover(xid=2)) == [2]
        seen = []
        with contextlib.suppress(TimeoutError):
            while True:
                seen.append(uplink.recv(2048))
        # The bridge drops the guest's own broadcast; the server sends nothing here.
        assert not [packet for packet in seen if decode_reply(packet)]
        status = process.status()["ports"]
        assert isinstance(status, list)
        assert status[0]["answered"] == {"OFFER": 1}
        uplink.close()


# Alone, and as an object


def alone(link: Link, config: str, path: Path, *words: str) -> subprocess.Popen[str]:
    path.write_text(config)
    command = [sys.executable, "-m", "dhcp", "--interface", "tap0", "--config", path, *words]
    return link.pod.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize("config", [CONFIG, [TAP0]], ids=["object", "list"])
def test_alone_it_says_ready_when_it_answers(link: Link, tmp_path: Path, config: object) -> None:
    child = alone(link, json.dumps(config), tmp_path / "config.json")
    assert child.stdout is not None
    assert child.stdout.readline().startswith("ready")
    assert link.ask(discover()) == [2]
    child.terminate()
    assert child.wait(timeout=PATIENCE) == 0


def test_alone_it_keeps_nothing_of_who_started_it(link: Link, tmp_path: Path) -> None:
    """Its configuration comes here through one of the descriptors that it inherits, and in two parts."""
    text = json.dumps(CONFIG)
    (tmp_path / "inherited").touch()
    script = (
        'cd "$1"; exec 9>"$1/inherited"; exec "$2" -m dhcp --interface tap0'
        ' --config <(echo -n "${3:0:20}"; sleep 0.1; echo "${3:20}") >&-'
    )
    child = link.pod.popen(["bash", "-c", script, "bash", tmp_path, sys.executable, text])
    wait_until(lambda: link.ask(discover(), timeout=0.2) == [2])
    assert_no_capability(child.pid)
    assert_own_user(child.pid)
    held = [os.readlink(entry) for entry in Path(f"/proc/{child.pid}/fd").iterdir()]
    assert not [target for target in held if target.startswith("pipe:") or str(tmp_path) in target]
    assert Path(f"/proc/{child.pid}/cwd").samefile("/")
    child.terminate()
    assert child.wait(timeout=PATIENCE) == 0


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("{", "line 1 column 2"),
        (json.dumps({**CONFIG, "client_mac": "x"}), "client_mac: "),
        (json.dumps([{**TAP0, "interface": "other"}]), "'tap0'"),
        (json.dumps({**CONFIG, "dsn": []}), "dsn: unknown field"),
    ],
)
def test_alone_a_bad_configuration_is_one_line(link: Link, tmp_path: Path, config: str, reason: str) -> None:
    child = alone(link, config, tmp_path / "config.json")
    out, err = child.communicate(timeout=PATIENCE)
    assert (child.returncode, out) == (2, "")
    assert err.count("\n") == 1
    assert reason in err


@pytest.mark.parametrize("words", [[], ["--interface", "tap0"], ["--interface", "tap0", "--nonsense"]])
def test_bad_usage(words: list[str]) -> None:
    completed = subprocess.run([sys.executable, "-m", "dhcp", *words], capture_output=True, text=True)
    assert completed.returncode == 2
    assert "usage: " in completed.stderr


def test_alone_without_its_interface(link: Link, tmp_path: Path) -> None:
    link.pod.ip("link delete tap0")
    child = alone(link, json.dumps(CONFIG), tmp_path / "config.json")
    out, err = child.communicate(timeout=PATIENCE)
    assert (child.returncode, out) == (1, "")
    assert err == "tap0: No such device\n"


def test_as_an_object_in_anothers_test(link: Link) -> None:
    log = os.open("/dev/null", os.O_WRONLY)
    with link.pod.entered():
        server = SingleClientDHCPServer([TAP0], log=log)
        with server:
            assert link.ask(discover()) == [2]
            ports = server.status()["ports"]
            assert isinstance(ports, list)
            assert ports[0]["answered"] == {"OFFER": 1}
    assert link.ask(discover(), timeout=0.1) == []
    server.stop()
    os.close(log)


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A folder with the server in it that only root may read."""
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    shutil.copytree(Path(dhcp.__file__).parent, folder / "dhcp", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.mark.parametrize("mode", [0o755, 0o700], ids=["folder-open", "folder-closed"])
def test_it_starts_from_a_directory_that_nobody_may_read(link: Link, private: Path, mode: int) -> None:
    """An IPv6 configuration arrives when the server has become another user; its modules can still be imported."""
    (private / "dhcp").chmod(mode)
    program = (
        "import sys, json; sys.path.insert(0, sys.argv[2]); from dhcp.process import ServerProcess\n"
        "assert sys.argv[2] in ServerProcess.spawn.__code__.co_filename\n"
        "p = ServerProcess.spawn(None); p.configure(json.loads(sys.argv[1])); print(p.status()['pid']); p.release()"
    )
    config = [{**TAP0, "client_address6": "fd00::9/64", "router6": "fe80::1", "uplink6": None}]
    link.pod.run([sys.executable, "-c", program, json.dumps(config), private])
    assert link.ask(discover()) == [2]
    assert link.ask(renewing("10.0.0.9")) == [NAK, NAK]
    with link.pod.entered():
        connection = connect()
    assert connection is not None
    assert connection.status()["ports"][0]["advertisements"] == 1  # type: ignore[index]
    connection.stop()


def test_a_signal_is_heard_whenever_it_comes(link: Link) -> None:
    """Also just before the server waits for the next frame."""
    for microseconds in range(0, 1000, 20):
        with link.pod.entered():
            process = ServerProcess.spawn(None)
            process.configure([TAP0])
        time.sleep(microseconds / 1e6)
        os.kill(process.pid, signal.SIGTERM)
        exited = os.pidfd_open(process.pid)
        assert select.select([exited], [], [], PATIENCE)[0]
        os.close(exited)
        assert os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1]) == 0
        process.release()
