"""A binding that another distribution registers: found by its entry point, and as good as one of the package's own."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from lab.agent import Agent
from lab.checks import assert_lease, assert_traffic, pings
from lab.clients import Udhcpc
from lab.doctor import examine
from lab.forked import KILLED, SUCCEEDED, kill, put_back, run_in
from lab.namespace import CommandError
from lab.pod import MakePod, Pod
from lab.shape import shape_names
from lab.snapshot import assert_restored, take_snapshot

from netsetup.apply import prepare_pod_network_interfaces
from netsetup.model.request import NetworkRequest

pytestmark = pytest.mark.root

DISTRIBUTION = Path(__file__).parent.parent / "outside_binding"
NAME = "outside"
MOST_STEPS = 100


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder is on the path of every Python that is started, as the folder of an installed distribution is."""
    monkeypatch.setenv("PYTHONPATH", str(DISTRIBUTION))
    monkeypatch.syspath_prepend(str(DISTRIBUTION))


def distribution(folder: Path, module: str, content: str | None) -> str:
    """Another distribution, which registers `module` as the binding of that name; the folder to be put on the path."""
    info = folder / "another-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: another\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[virt_launcher.bindings]\n{module} = {module}\n")
    if content is not None:
        (folder / f"{module}.py").write_text(content)
    return str(folder)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("shape", shape_names())
def test_every_shape(make_pod: MakePod, shape: str) -> None:
    """Set up, lease, traffic both ways, no finding, nothing to do when run again, and put back exactly."""
    pod = make_pod(shape)
    before = take_snapshot(pod.pod)
    with Agent(pod, binding=NAME) as agent:
        (network,) = agent.prestart()["networks"]
        assert (network["binding"], network["bridge"]) == (NAME, "")
        assert not [link for link in pod.pod.ip_json("link show") if link["ifname"].startswith("k6t-")]
        if pod.shape.guest:
            with Udhcpc(pod.guest) as client:
                assert_lease(client, client.acquire(), pod.shape.guest)
                assert_traffic(pod, client)
                if address6 := agent.status()["networks"][0]["address6"]:
                    pod.guest.ip(f"addr add {address6} dev eth0 nodad")
                report = examine(agent)
                assert report.wrong == {}, report.text
                assert {"bridge", "bridge port"}.isdisjoint(report.hops)
        assert agent.run("prestart", "--dry-run", check=True).stdout.startswith("nothing to do\n")
        agent.teardown()
        assert_restored(pod.pod, before)
        assert pod.pod.processes() == []


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("shape", ["ovn-kubernetes", "ptp"])
def test_killed_at_every_step(make_pod: MakePod, shape: str, tmp_path: Path) -> None:
    pod = make_pod(shape)
    original = take_snapshot(pod.pod)

    def set_up(state_dir: Path) -> None:
        prepare_pod_network_interfaces([NetworkRequest(binding=NAME)], state_dir=state_dir)

    for number in range(MOST_STEPS):
        status = run_in(pod.pod, set_up, tmp_path, at=number, fault=kill)
        assert run_in(pod.pod, put_back, tmp_path) == SUCCEEDED, f"killed at step {number}"
        assert_restored(pod.pod, original)
        if status == SUCCEEDED:
            assert number > 5
            return
        assert status == KILLED
    raise AssertionError(f"{MOST_STEPS} steps and no end")


@pytest.mark.usefixtures("registered")
def test_status_and_doctor_know_it(pod: Pod) -> None:
    with Agent(pod, binding=NAME) as agent:
        agent.prestart()
        text = agent.run("status", check=True).stdout
        assert f"network default, {NAME}: eth0 ─ tap0\n" in text
        pod.guest.ip("link set eth0 up", "addr add 10.244.1.3/24 dev eth0", "route add default via 10.244.1.1")
        assert pings(pod.guest, "192.0.2.1")
        assert pings(pod.node, "10.244.1.3")
        pod.pod.run(["nft", "delete", "table", "netdev", "virt-launcher"])
        examine(agent).assert_names({"nftables table": "netdev family is gone"})
        agent.prestart()
        examine(agent).assert_names({})


def test_one_that_nobody_registers_is_refused_with_those_there_are(pod: Pod) -> None:
    assert_refused(
        pod,
        "outside",
        r"interfaces\[0\]\.binding\.name: is not supported: use one of bridge, masquerade, fwd, or let the VM",
    )


@pytest.mark.usefixtures("registered")
def test_those_of_others_are_named_too(pod: Pod) -> None:
    assert_refused(pod, "nobody", r"is not supported: use one of bridge, masquerade, fwd, outside, or let ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "binding 'lacking': lacking does not load: No module named 'lacking'"),
        ("import no_such_module", "binding 'lacking': lacking does not load: No module named 'no_such_module'"),
        ("def broken(", r"binding 'lacking': lacking does not load: '\(' was never closed"),
        ("1 / 0", "binding 'lacking': lacking does not load: division by zero"),
        (
            "admit = rules = hops = path = None",
            r"binding 'lacking': lacking is none, it lacks is_private, reserved_mac, ",
        ),
    ],
    ids=["no module", "an import", "no Python", "an error", "members"],
)
def test_one_that_does_not_load_is_refused_by_name(
    pod: Pod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, message: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", distribution(tmp_path, "lacking", content))
    assert_refused(pod, "lacking", rf"interfaces\[0\]\.binding\.name: {message}")


def test_a_pod_whose_binding_has_been_uninstalled_is_left_as_it_is(
    pod: Pod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else knows the way back; when the distribution is there again, it is gone."""
    before = take_snapshot(pod.pod)
    installed = tmp_path / "installed"
    shutil.copytree(DISTRIBUTION, installed)
    monkeypatch.setenv("PYTHONPATH", str(installed))
    with Agent(pod, binding=NAME) as agent:
        agent.prestart()
        during = take_snapshot(pod.pod)
        monkeypatch.delenv("PYTHONPATH")
        for verb in ("teardown", "status", "doctor"):
            done = agent.run(verb)
            assert (done.returncode, done.stdout) == (2, ""), verb
            assert "no binding 'outside'; there are: bridge, masquerade, fwd\n" in done.stderr
        assert_restored(pod.pod, during)
        monkeypatch.setenv("PYTHONPATH", str(installed))
        agent.teardown()
        assert_restored(pod.pod, before)


def assert_refused(pod: Pod, binding: str, message: str) -> None:
    """In one line, with the exit code of bad input, and nothing is changed."""
    before = take_snapshot(pod.pod)
    with Agent(pod, binding=binding) as agent:
        with pytest.raises(CommandError) as refused:
            agent.prestart()
        assert not agent.state_directory.exists()
    completed = refused.value.completed
    assert completed.returncode == 2
    assert re.search(message, completed.stderr.rstrip()), completed.stderr
    assert completed.stderr.count("\n") == 1
    assert_restored(pod.pod, before, within=0)
