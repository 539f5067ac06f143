"""The saved record: whatever happens to it, another pod's is never believed, and this pod's is never lost."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from lab.agent import Agent
from lab.checks import pings
from lab.forked import FAILED, SUCCEEDED, put_back, run_in, set_up
from lab.pod import MakePod, Pod
from lab.snapshot import assert_restored, take_snapshot

from netsetup.errors import RecordError
from netsetup.record import FILE, Record, save

pytestmark = pytest.mark.root


def edited(**changes: object) -> Callable[[Path], None]:
    def edit(file: Path) -> None:
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return edit


DAMAGES = {
    "corrupt": lambda file: file.write_bytes(b"\x00\xff" * 100),
    "empty": lambda file: file.write_bytes(b""),
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-20]),
    "of another boot": edited(boot_id="00000000-0000-0000-0000-000000000000"),
    "of another namespace": edited(namespace_cookie=1),
    "without networks": edited(networks="none"),
}


def test_a_record_that_cannot_be_written_leaves_nothing_behind(pod: Pod, tmp_path: Path) -> None:
    """On a full disk."""
    folder = tmp_path / "state"
    folder.mkdir()
    mount = f"mount -t tmpfs -o mode=700,size=4k none {folder}"
    full = f'{mount}; head -c 4096 /dev/zero > {folder}/filler; "$@"; ls -A {folder}'
    original = take_snapshot(pod.pod)
    command = [Agent.program(), "prestart", "--state-dir", str(folder)]
    done = pod.pod.run(["sh", "-c", full, "sh", *command], check=False)
    assert "cannot save the record: No space left on device" in done.stderr
    assert done.stdout.split() == ["filler"]
    assert_restored(pod.pod, original)


def test_a_record_that_cannot_be_renamed_into_place_is_removed(tmp_path: Path) -> None:
    """When a pod that is set up has changed and its new record cannot be written, the old one stays alone."""
    (tmp_path / FILE).mkdir()  # what a rename to fails
    with pytest.raises(RecordError):
        save(str(tmp_path), Record("boot", 1, {}))
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_does_not_matter(pod: Pod, damage: str, tmp_path: Path) -> None:
    """The copy in the kernel serves."""
    original = take_snapshot(pod.pod)
    assert run_in(pod.pod, set_up, tmp_path) == SUCCEEDED
    DAMAGES[damage](tmp_path / "network.json")
    assert run_in(pod.pod, set_up, tmp_path) == SUCCEEDED
    DAMAGES[damage](tmp_path / "network.json")
    assert run_in(pod.pod, put_back, tmp_path) == SUCCEEDED
    assert_restored(pod.pod, original)


@pytest.mark.parametrize("damage", ["corrupt", "of another boot", "of another namespace"])
def test_a_useless_file_in_an_untouched_pod_is_passed_over(make_pod: MakePod, damage: str, tmp_path: Path) -> None:
    """A record of another pod, in the folder of this one: read as one's own, it would change the pod."""
    other, pod = make_pod("calico"), make_pod("flannel")
    assert run_in(other.pod, set_up, tmp_path) == SUCCEEDED
    DAMAGES[damage](tmp_path / "network.json")
    original = take_snapshot(pod.pod)
    assert run_in(pod.pod, put_back, tmp_path) == SUCCEEDED
    assert_restored(pod.pod, original, within=0)
    assert run_in(pod.pod, set_up, tmp_path) == SUCCEEDED
    assert run_in(pod.pod, put_back, tmp_path) == SUCCEEDED
    assert_restored(pod.pod, original)


def test_a_record_of_a_later_version_is_refused_by_name(pod: Pod, tmp_path: Path) -> None:
    """Whoever wrote it knows how to undo what it says; this program does not, and changes nothing."""
    with Agent(pod) as agent:
        agent.prestart()
        edited(version=99)(agent.state_directory / "network.json")
        during = take_snapshot(pod.pod)
        for verb in ("prestart", "teardown", "status", "doctor"):
            done = agent.run(verb)
            assert done.returncode == (3 if verb == "teardown" else 2), verb
            assert "the record has version 99, and this program reads 3 at most" in done.stderr, verb
        assert_restored(pod.pod, during, within=0)
        edited(version=3)(agent.state_directory / "network.json")
        assert agent.run("teardown").returncode == 0


def test_an_unfinished_record_is_removed(pod: Pod) -> None:
    """Of a set-up that was killed while it wrote the record, before it changed anything."""
    with Agent(pod) as agent:
        agent.state_directory.mkdir()
        (agent.state_directory / "network.json.new").write_text("{")
        assert agent.run("teardown").returncode == 0
        assert not agent.state_directory.exists()


def test_another_pods_record_is_never_believed(make_pod: MakePod, tmp_path: Path) -> None:
    other, pod = make_pod("calico"), make_pod("flannel")
    assert run_in(other.pod, set_up, tmp_path) == SUCCEEDED
    original = take_snapshot(pod.pod)
    assert run_in(pod.pod, put_back, tmp_path) == SUCCEEDED
    assert_restored(pod.pod, original, within=0)


def test_without_file_and_copy_nothing_is_guessed(pod: Pod, tmp_path: Path) -> None:
    """Somebody has flushed nftables and removed our files: the pod is left as it is, and that is said."""
    with Agent(pod) as agent:
        agent.prestart()
        shutil.rmtree(agent.state_directory)
        pod.pod.run(["nft", "flush", "ruleset"])
        during = take_snapshot(pod.pod)
        done = agent.run("teardown")
        assert (done.returncode, done.stdout) == (3, "")
        assert "k6t-eth0 is ours, but no record says what the pod was before; left as it is" in done.stderr
        assert_restored(pod.pod, during, within=0)
        done = agent.run("prestart")
        assert done.returncode == 2
        assert "eth0: already a port of k6t-eth0, and no record says that we made it one" in done.stderr


def test_a_folder_that_cannot_be_written_changes_nothing(pod: Pod, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    original = take_snapshot(pod.pod)
    assert run_in(pod.pod, set_up, file / "state") == FAILED
    assert_restored(pod.pod, original, within=0)


def test_what_the_cni_adds_later_is_taken_in_and_put_back(pod: Pod) -> None:
    """A VIP and a route appear on eth0 while the VM has its address: the next run moves them, teardown restores all."""
    with Agent(pod) as agent:
        first = agent.prestart()
        pod.pod.ip("addr add 10.244.1.9/24 dev eth0", "route add 10.77.0.0/16 via 10.244.1.1 dev eth0")
        second = agent.prestart()
        assert second["networks"][0]["addresses"] == [*first["networks"][0]["addresses"], "10.244.1.9/24"]
        assert pod.pod.ip_json("-4 addr show dev eth0") == []
        status = json.loads(agent.run("status", "--output", "json", check=True).stdout)
        assert status["networks"][0]["address"] == first["networks"][0]["addresses"][0]
        assert "10.244.1.9/24" in status["networks"][0]["further_addresses"]
        pod.guest.ip(
            "link set eth0 up",
            "addr add 10.244.1.3/24 dev eth0",
            "addr add 10.244.1.9/24 dev eth0",
            "route add default via 10.244.1.1",
        )
        for own in ("10.244.1.3", "10.244.1.9"):
            assert pings(pod.node, own), "the guest has both if it wants"
            assert pings(pod.guest, "192.0.2.1", source=own)
        agent.teardown()
        addresses = [a["local"] for a in pod.pod.ip_json("-4 addr show dev eth0")[0]["addr_info"]]
        assert addresses == [first["networks"][0]["addresses"][0].split("/")[0], "10.244.1.9"]
        routes = {route["dst"] for route in pod.pod.ip_json("-4 route show")}
        assert "10.77.0.0/16" in routes


def test_an_address_that_the_cni_gives_back_is_taken_again(pod: Pod) -> None:
    """As a CNI's daemon does that finds its own gone: the guest would have a rival."""
    original = take_snapshot(pod.pod)
    with Agent(pod) as agent:
        first = agent.prestart()["networks"]
        during = take_snapshot(pod.pod)
        pod.pod.ip("addr add 10.244.1.3/24 brd 10.244.1.255 dev eth0", "route add default via 10.244.1.1 dev eth0")
        assert agent.prestart()["networks"] == first
        assert_restored(pod.pod, during)
        agent.teardown()
    assert_restored(pod.pod, original)


def test_a_hook_and_a_teardown_at_once(pod: Pod) -> None:
    """One waits for the other, and what is left is the work of the last."""
    original = take_snapshot(pod.pod)
    with Agent(pod) as agent:
        for _ in range(5):
            both = [pod.pod.popen(agent.command(verb), stderr=subprocess.PIPE) for verb in ("prestart", "teardown")]
            for process in both:
                _, err = process.communicate(timeout=30)
                assert process.returncode == 0, err
            assert bool(pod.pod.processes()) == pod.pod.has_link("k6t-eth0"), "a server and a network, or neither"
            agent.prestart()
            agent.teardown()
            assert_restored(pod.pod, original)
            assert pod.pod.processes() == []


def test_two_hooks_at_once(pod: Pod) -> None:
    """One waits for the other: both succeed, with one server and one set-up, and say the same."""
    original = take_snapshot(pod.pod)
    with Agent(pod) as agent:
        command = [*agent.command("prestart"), "--output", "json"]
        running = [pod.pod.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
        printed = []
        for process in running:
            out, err = process.communicate(timeout=30)
            assert process.returncode == 0, err
            printed.append(json.loads(out))
        assert len({json.dumps(p["networks"]) for p in printed}) == 1
        assert len({p["dhcp"]["pid"] for p in printed}) == 1
        assert pod.pod.processes() == [printed[0]["dhcp"]["pid"]]
        agent.teardown()
        assert_restored(pod.pod, original)
