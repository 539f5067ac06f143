"""Text that is none, wherever it comes in: the pod is set up and put back all the same, or refused untouched."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from lab.agent import Agent
from lab.monitor import Monitor
from lab.pod import MakePod, Pod
from lab.snapshot import assert_restored, take_snapshot

from launcher.prestart import setup_pod_network
from launcher.request import SetupRequest
from launcher.vmi.model import DHCPOptions, InterfaceSpec
from netsetup.errors import InvalidRequest

pytestmark = pytest.mark.root

NAMED = ["unshare", "-u", "sh", "-c", 'printf "vm\\377\\033[31m" > /proc/sys/kernel/hostname; exec "$@"', "sh"]
RESOLV_CONF = "nameserver 10.96.0.10\nnameserver fe80::1%e\x9b\nsearch good.test b\x1b[31m.test b\udcff.test\n"


def ip(pod: Pod, *words: str | bytes) -> None:
    subprocess.run(["ip", "-n", pod.pod.name, *words], check=True)


@pytest.mark.parametrize("binding", ["bridge", "masquerade", "fwd"])
def test_names_and_aliases_that_are_no_text(make_pod: MakePod, binding: str) -> None:
    """Of the host, of resolv.conf, and of the pod's own and other interfaces, some of which are put back."""
    pod = make_pod(guest_port=False)
    ip(pod, "link", "set", "eth0", "alias", b"a\xff\x1b[31m")
    ip(pod, "address", "add", "10.244.1.9/24", "dev", "eth0", "label", b"eth0:\xff")
    ip(pod, "link", "add", b"o\xff\x1b1", "type", "veth", "peer", "name", "o2")
    ip(pod, "link", "set", b"o\xff\x1b1", "up")
    (Path("/etc/netns") / pod.pod.name / "resolv.conf").write_text(RESOLV_CONF, errors="surrogateescape")
    before = take_snapshot(pod.pod)
    with Agent(pod, binding=binding) as agent:
        for verb in (["prestart", "--verbose"], ["status"], ["doctor"], ["prestart", "--dry-run"], ["teardown"]):
            done = agent.run(*verb, prefix=NAMED)
            assert done.returncode == (verb == ["doctor"]), done.stderr  # the VM has not asked for its lease
            assert (done.stdout + done.stderr).replace("\n", "").isprintable()
            if verb == ["status"]:
                assert (r"warning: host name vm\udcff\x1b[31m: " in done.stdout) == (binding == "bridge")
                assert r"warning: search b\x1b[31m.test: " in done.stdout
                assert "resolv.conf line 2" in done.stdout
        assert not agent.state_directory.exists()
    assert_restored(pod.pod, before)


def test_an_interface_whose_name_is_no_text_is_not_handed_over(pod: Pod, agent: Agent, tmp_path: Path) -> None:
    request = SetupRequest.of(InterfaceSpec(name="default", pod_interface="e\udcff0"))
    ip(pod, "link", "add", b"e\xff0", "type", "veth", "peer", "name", "o2")
    with pod.pod.entered(), pytest.raises(InvalidRequest, match="a name that is no text; rename"):
        setup_pod_network(request, state_dir=tmp_path / "state")
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(
    ("options", "field"),
    [
        (DHCPOptions(boot_file="\ud800"), "dhcpOptions.bootFileName"),
        (DHCPOptions(tftp_server="\ud83d\ude00"), "tftp_server"),
        (DHCPOptions(private=((224, "\ud800"),)), "dhcpOptions.privateOptions.224"),
        (DHCPOptions(private=((53, "1"),)), "dhcpOptions.privateOptions.53"),
    ],
)
def test_what_a_program_requests_is_checked_before_the_first_change(
    pod: Pod, tmp_path: Path, options: DHCPOptions, field: str, dry_run: bool
) -> None:
    """A manifest's author is refused earlier, by the field's path."""
    request = SetupRequest.of(InterfaceSpec(name="default", dhcp_options=options))
    with Monitor(pod.pod) as monitor, pod.pod.entered():
        with pytest.raises(InvalidRequest, match=field):
            setup_pod_network(request, state_dir=tmp_path / "state", dry_run=dry_run)
        assert monitor.events() == []
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("is_set_up", [False, True])
def test_bad_options_of_a_manifest_change_nothing(pod: Pod, agent: Agent, tmp_path: Path, is_set_up: bool) -> None:
    """The dry run says the same; a pod that is set up stays so, and is served as before."""
    manifest = tmp_path / "vmi.json"
    interface = {"name": "default", "bridge": {}, "dhcpOptions": {"bootFileName": "a b"}}
    spec = {"domain": {"memory": {"guest": "64Mi"}, "devices": {"interfaces": [interface]}}}
    spec["networks"] = [{"name": "default", "pod": {}}]
    document = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": {"name": "vm"}}
    manifest.write_text(json.dumps(document | {"spec": spec}))
    before = take_snapshot(pod.pod)
    server = agent.prestart()["dhcp"] if is_set_up else None
    with Monitor(pod.pod) as monitor:
        for dry_run in ((), ("--dry-run",)):
            done = agent.run("prestart", "--vmi", manifest, *dry_run)
            assert done.returncode == 2
            assert "spec.domain.devices.interfaces[0].dhcpOptions.bootFileName: 'a b' must be 1 to 255" in done.stderr
        assert monitor.events() == []
    if is_set_up:
        assert agent.prestart()["dhcp"] == server
        agent.teardown()
    assert not agent.state_directory.exists()
    assert_restored(pod.pod, before)


@pytest.mark.parametrize("name", ["", "a b", "a\n", "\ud800", "\x1b[31m", "a" * 201])
def test_a_network_whose_devices_would_not_be_found_again_is_refused(pod: Pod, tmp_path: Path, name: str) -> None:
    with pod.pod.entered(), pytest.raises(InvalidRequest, match="its name must be") as refusal:
        setup_pod_network(SetupRequest.of(InterfaceSpec(name=name)), state_dir=tmp_path / "state")
    assert str(refusal.value).isprintable()


def test_a_state_directory_has_the_name_that_it_has(pod: Pod, tmp_path: Path) -> None:
    folder = tmp_path / "s\udcff\x1b[31m"
    with Agent(pod) as agent:
        for verb in ("prestart", "status", "teardown"):
            agent.run(verb, "--state-dir", folder, check=True)
            assert folder.exists() == (verb != "teardown")


@pytest.mark.parametrize(
    "arguments",
    [
        ["prestart", "--\x1b[31m"],
        ["prestart", "--owner", "\udcff\x1b"],
        ["prestart", "--vmi", "/no\udcffwhere\x9b"],
        ["prestart", "--netns", "no\udcffwhere\x9b"],
        ["run", "--vmi", "/dev/null", "--disk", "\x1b"],
        ["run", "--vmi", "/dev/null", "--connect", "qemu:///\udcff"],
        ["run", "--vmi", "/dev/null", "--state-dir", "/tmp/\x1b"],
        ["\x1b[31m"],
    ],
    ids=ascii,
)
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_odd_arguments_are_refused_in_text(arguments: list[str], log_format: str) -> None:
    words = [Agent.program(), *arguments[:1], "--log-format", log_format, *arguments[1:]]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.rstrip("\n").isprintable()
