"""Every command of the documentation is run, or what it would run is looked at. One that is not known here fails."""

from __future__ import annotations

import html
import importlib.metadata
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from lab.pod import Pod
from lab.snapshot import assert_restored, take_snapshot

from .pages import ROOT, Page, pages

BIN = Path(sys.executable).parent
README = Page(ROOT / "README.md")
(PODMAN_RUN,) = (line for line in Page(ROOT / "docs/containers.md").commands() if line.startswith("podman run "))
COMMANDS = sorted({command for page in pages() for command in page.commands()})


@pytest.fixture
def pod() -> Iterator[Pod]:
    """A pod that is in the end as it was before."""
    with Pod("flannel", guest_port=False) as pod:
        before = take_snapshot(pod.pod)
        yield pod
        assert_restored(pod.pod, before)
        assert pod.pod.processes() == []


# One function for each kind of command


def made(*arguments: str, last: str) -> str:
    """What `make ARGUMENTS` would do, which ends with `last`; every program of .venv/bin that it names is there."""
    # not as part of the `make test` that may have started this
    started_by = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "STRICT")
    environment = {name: value for name, value in os.environ.items() if name not in started_by}
    command = ["make", "-n", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.rstrip().splitlines()[-1] == last
    programs = set(re.findall(r"^\.venv/bin/([\w-]+)", done.stdout, re.MULTILINE))
    assert {name for name in programs if not (BIN / name).exists()} == set()
    return done.stdout


def make_demo(_pod: Pod) -> None:
    # tests/vm/test_demo.py runs it
    made("demo", last=".venv/bin/virt-launcher demo")


def make_docs(_pod: Pod) -> None:
    """A page that is not in the site, a broken link, an anchor that is not there: each fails."""
    made("docs", last=".venv/bin/mkdocs build --strict --config-file .ci/mkdocs.yml")
    with tempfile.TemporaryDirectory(prefix="vltest-") as site:
        command = [BIN / "mkdocs", "build", "--strict", "--config-file", ".ci/mkdocs.yml", "--site-dir", site]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert (Path(site) / "index.html").exists()


def make_test(_pod: Pod) -> None:
    pytest = ".venv/bin/python -m pytest"
    every = f"{pytest} --numprocesses $((2 * $(nproc))) --dist loadfile --no-loadscope-reorder"
    again = "--last-failed --last-failed-no-failures none"
    made("test", "STRICT=1", last=every)
    commands = made("test", last=f"{every} || {{ test $? -eq 1 && {pytest} --second-try {again}; }}")
    assert ".venv/bin/ruff check ." in commands
    assert ".venv/bin/mypy" in commands
    assert (ROOT / ".ci/run").read_text().rstrip().endswith("exec make test")


def make_venv(_pod: Pod) -> None:
    made("venv", last=".venv/bin/python -m compileall -q dhcp launcher netsetup")


def make_test_debian(_pod: Pod) -> None:
    made("test-debian12", last=".ci/chroot bookworm make test")
    made("test-debian13", last=".ci/chroot trixie make test")


def make_test_guest(_pod: Pod) -> None:
    made("test-guest", last=".venv/bin/python -m pytest tests/guest")


def make_check(_pod: Pod) -> None:
    made("check", last=".venv/bin/mypy")


def make_unit(_pod: Pod) -> None:
    made("unit", last=".venv/bin/python -m pytest tests/unit")


def make_image(_pod: Pod) -> None:
    # tests/containers runs it
    assert "mmdebstrap" in made("image", last="deploy/image/build")
    assert "mmdebstrap" not in made("image", "IMAGE_BASE=docker.io/library/debian:13-slim", last="deploy/image/build")


def podman_run(_pod: Pod) -> None:
    """tests/containers/test_run.py runs it, with an empty disk."""
    assert "of_page" in (ROOT / "tests/containers/test_run.py").read_text()


def kubectl_apply(_pod: Pod) -> None:
    """What it would read; tests of deploy/ hold it against Kubernetes' schemas."""
    kinds = {document["kind"] for document in yaml.safe_load_all((ROOT / "deploy/pod.yaml").read_text())}
    assert "Pod" in kinds


def podman_play(_pod: Pod) -> None:
    """tests/containers/test_pod.py plays what this prints, with a guest of the tests' own."""
    convert = [ROOT / "deploy/for_podman.py", "--image", "root=/srv/disk", ROOT / "deploy/pod.yaml"]
    done = subprocess.run([BIN / "python", *convert], capture_output=True, text=True, check=True)
    assert [document["kind"] for document in yaml.safe_load_all(done.stdout)] == ["ConfigMap", "Pod"]


def make_faults(_pod: Pod) -> None:
    run = ".venv/bin/python tests/faults/matrix.py --seconds 1500 --write docs/faults.md"
    part = "teardown --seconds 240"
    made("faults", last=run)
    made("faults", f"FAULTS={part}", last=f"{run} {part}")


def make_mutants(_pod: Pod) -> None:
    run, part = ".venv/bin/python tests/mutation/run.py", "--share 100 --modules ^dhcp/v6"
    made("mutants", last=run)
    made("mutants", f"MUTANTS={part}", last=f"{run} {part}")


def pytest_of(folder: str) -> Callable[[Pod], None]:
    def collect(_pod: Pod) -> None:
        command = [str(BIN / "python"), "-m", "pytest", folder, "--collect-only", "-q"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
        assert re.search(r"^\d+ tests collected", done.stdout, re.MULTILINE)

    return collect


def prestart(pod: Pod) -> None:
    done = launcher(pod, "virt-launcher prestart", "virt-launcher teardown")
    assert done.startswith("<interface type=")


def teardown(pod: Pod) -> None:
    launcher(pod, "virt-launcher prestart")
    assert launcher(pod, "virt-launcher teardown") == ""


def status(pod: Pod) -> None:
    printed = launcher(pod, "virt-launcher prestart", "virt-launcher status", "virt-launcher teardown")
    assert "10.244.1.3" in printed.partition("</interface>")[2]


def doctor_quick(pod: Pod) -> None:
    launcher(pod, "virt-launcher prestart", "virt-launcher doctor --quick", "virt-launcher teardown")


def doctor(pod: Pod) -> None:
    """In a pod whose VM has not been started: that, and nothing else, is wrong."""
    with tempfile.TemporaryDirectory(prefix="vltest-") as state:
        command = [*at_home(state, state), BIN / "virt-launcher"]
        pod.pod.run([*command, "prestart"])
        done = pod.pod.run([*command, "doctor"], check=False)
        pod.pod.run([*command, "teardown"])
    assert done.returncode == 1
    assert re.findall("^WRONG (.+?)  ", done.stdout, re.MULTILINE) == ["guest"]


def probe(pod: Pod) -> None:
    assert launcher(pod, "virt-launcher prestart", "virt-launcher probe", "virt-launcher teardown").endswith(
        "  as configured\n"
    )


def metrics(pod: Pod) -> None:
    printed = launcher(pod, "virt-launcher prestart", "virt-launcher metrics", "virt-launcher teardown")
    assert "\nvirt_launcher_set_up 1.0\n" in printed


def capture(pod: Pod) -> None:
    """For a second; tests/netns/test_capture.py reads what is captured."""
    (command,) = (command for command in COMMANDS if command.startswith("virt-launcher capture"))
    bounded = command.replace("capture", "capture --seconds 1")
    with tempfile.TemporaryDirectory(prefix="vltest-") as state:
        words = [*at_home(state, state), "env", f"PATH={BIN}:{os.environ['PATH']}", "sh", "-ec"]
        done = pod.pod.run([*words, f"virt-launcher prestart; {bounded}; virt-launcher teardown"], timeout=60)
    assert "captured " in done.stderr


def completion(_pod: Pod) -> None:
    """Where the shells look for it; tests/docs/test_shells.py has them complete."""
    with tempfile.TemporaryDirectory(prefix="vltest-") as home:
        for command in (command for command in COMMANDS if " completion " in command and ">" in command):
            path = Path(home, command.partition(">~/")[2])
            path.parent.mkdir(parents=True)
            words = f'PATH="{BIN}:$PATH" {command.replace("~", home)}'
            subprocess.run(["sh", "-ec", words], check=True)
            assert "--log-format" in path.read_text()


def make_man(_pod: Pod) -> None:
    # tests/docs/test_shells.py makes it
    made("man", last="sed -i '1s/\\\\-/-/g' build/virt-launcher.1")


def fuzz(_pod: Pod) -> None:
    """For a thousand frames instead of ten minutes."""
    with tempfile.TemporaryDirectory(prefix="vltest-") as folder:
        command = [BIN / "python", ROOT / "tests/fuzz/frames.py", "corpus", "-runs=1000"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
        assert list(Path(folder, "corpus").iterdir())
    assert (done.returncode, "Done 1000 runs" in done.stderr) == (0, True), done.stderr


def dhcp_alone(pod: Pod) -> None:
    """With the least configuration there is; it says when it answers."""
    with tempfile.TemporaryDirectory(prefix="vltest-") as folder:
        config = Path(folder, "config.json")
        config.write_text(
            '{"client_mac": "02:00:00:00:00:05", "client_address": "10.0.0.2/24", "server_address": "10.0.0.1"}'
        )
        words = [BIN / "python", "-m", "dhcp", "--interface", "eth0", "--config", config]
        server = pod.pod.popen(words, stdout=subprocess.PIPE)
        assert server.stdout is not None
        assert server.stdout.readline().startswith("ready")
        server.terminate()
        server.wait()


def bench(_pod: Pod) -> None:
    """What it can do; tests/netns/test_bench.py measures in small."""
    done = subprocess.run([BIN / "python", ROOT / "bench/run.py", "--help"], capture_output=True, text=True, check=True)
    assert "--rounds" in done.stdout


def make_bench(_pod: Pod) -> None:
    made("bench", last=".venv/bin/python bench/run.py")


def throughput(_pod: Pod) -> None:
    command = [BIN / "python", ROOT / "bench/throughput.py", "--help"]
    assert "--seconds" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def start(_pod: Pod) -> None:
    """What it can do; tests/netns/test_bench.py measures beside its own tree."""
    command = [BIN / "python", ROOT / "bench/start.py", "--help"]
    assert "--beside" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def hostile(_pod: Pod) -> None:
    command = [BIN / "python", ROOT / "bench/hostile.py", "--seconds", "0.5"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    *rows, honest = [line.split(" | ") for line in done.stdout.splitlines()[3:]]
    assert len(rows) == 7
    assert [row[3] for row in rows] == ["0"] * 7, "none reaches the node"
    assert int(honest[3].replace(",", "")) > 0


def overhead(_pod: Pod) -> None:
    command = [BIN / "python", ROOT / "bench/overhead.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    name, shared, _ = done.stdout.splitlines()[-1].strip("| ").split(" | ")
    assert name == "**all but QEMU**"
    assert 20 < float(shared.strip("*")) < 64  # what README says


def demo_svg(_pod: Pod) -> None:
    """README's picture is drawn again from its own text."""
    svg = ROOT / "docs/demo.svg"
    lines = [re.sub("<[^>]+>", "", line) for line in svg.read_text().splitlines() if line.startswith("<text")]
    text = "\n".join(map(html.unescape, lines))
    assert text.startswith("$ make demo\nA node, a pod and a real virtual machine")
    assert text.endswith("Every step worked.")
    with tempfile.TemporaryDirectory(prefix="vltest-") as folder:
        recorded, drawn = Path(folder, "text"), Path(folder, "svg")
        recorded.write_text(text)
        command = [BIN / "python", ROOT / "docs/demo_svg.py", recorded, drawn]
        subprocess.run(command, check=True)
        assert drawn.read_text() == svg.read_text()


def scale(_pod: Pod) -> None:
    command = [BIN / "python", ROOT / "bench/scale.py", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert re.findall("^### (.+)$", done.stdout, re.MULTILINE) == [
        "Pods at once",
        "Interfaces of one VM",
        "Interfaces attached to a running VM",
        "Routes of one interface",
    ]


def run(pod: Pod) -> None:
    """With a guest that sees its disk and powers off; only the place of the disk is another."""
    from vm.machine import manifest

    from launcher.demo.guest_image import build_guest, kernel_arguments

    document = manifest(
        build_guest(),
        kernel_arguments(then="poweroff"),
        devices={"disks": [{"name": "rootdisk", "disk": {"bus": "virtio"}}]},
        volumes=[{"name": "rootdisk", "hostDisk": {"path": "/unused"}}],
    )
    (command,) = (command for command in COMMANDS if command.startswith("virt-launcher run --vmi"))
    with tempfile.TemporaryDirectory(prefix="vltest-") as directory:
        image = Path(directory, "disks/root.qcow2")
        image.parent.mkdir()
        image.write_bytes(empty_qcow2(1 << 20))
        Path(directory, "vmi.yaml").write_text(yaml.safe_dump(document))
        launcher(pod, command.replace("=/disks", f"={directory}/disks"), directory=directory)


def without_a_vm(command: str, error: str) -> Callable[[Pod], None]:
    """Of verbs for a VM that runs: tests/vm has one in test_hardware.py, test_console.py and test_attach.py."""

    def check(pod: Pod) -> None:
        with tempfile.TemporaryDirectory(prefix="vltest-") as state:
            Path(state, "vmi.yaml").write_text((ROOT / "tests/manifests/through_a_cluster.yaml").read_text())
            done = pod.pod.run([*at_home(state, state), BIN / "virt-launcher", *command.split()[1:]], check=False)
        assert done.returncode == 1
        assert error in done.stderr

    return check


def run_described(pod: Pod) -> None:
    """With a disk that boots and powers off."""
    from vm.boot_sector import bootable_disk

    (command,) = (command for command in COMMANDS if command.startswith("virt-launcher run --disk"))
    with tempfile.TemporaryDirectory(prefix="vltest-") as name:
        directory = Path(name)
        (directory / "raw").write_bytes(bootable_disk())
        convert = ["qemu-img", "convert", "-O", "qcow2", directory / "raw", directory / "debian.qcow2"]
        subprocess.run(convert, check=True)
        (directory / "user-data.yaml").write_text("#cloud-config\n")
        launcher(pod, command, directory=str(directory))


def extra_testing(_pod: Pod) -> None:
    """There is that extra, and the entry point by which pytest finds the plugin."""
    installed = importlib.metadata.distribution("virt-launcher")
    assert 'pytest>=8.3; extra == "testing"' in (installed.requires or [])
    assert "launcher.testing.plugin" in {point.value for point in installed.entry_points.select(group="pytest11")}


def followed_by_other_tests(_pod: Pod) -> None:
    """Advice in an error's line: tests/netns/test_advice.py does what it says."""
    subprocess.run(["ip", "netns", "list"], check=True, capture_output=True)


def options_of_ip(pod: Pod) -> None:
    assert pod.pod.ip_json("link")


def validate(_pod: Pod) -> None:
    """Of a manifest that is fine; tests/unit/test_validate.py has others."""
    manifest = ROOT / "tests/manifests/through_a_cluster.yaml"
    with tempfile.TemporaryDirectory(prefix="vltest-") as folder:
        Path(folder, "vmi.yaml").write_text(manifest.read_text())
        words = [BIN / "virt-launcher", "validate", "vmi.yaml"]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("vmi.yaml: VirtualMachineInstance web/shop: runs with 2 CPUs")


NO_LAUNCHER = "no launcher has a VM running there; start one with `run`"

CHECKS: dict[str, Callable[[Pod], None]] = {
    "make demo": make_demo,
    "make docs": make_docs,
    "make test": make_test,
    "make venv": make_venv,
    "make test STRICT=1": make_test,
    "make image": make_image,
    "make image IMAGE_BASE=docker.io/library/debian:13-slim": make_image,
    PODMAN_RUN: podman_run,
    "kubectl apply --filename deploy/pod.yaml": kubectl_apply,
    "deploy/for_podman.py --image root=/srv/disk deploy/pod.yaml | podman kube play -": podman_play,
    "make faults": make_faults,
    "make faults FAULTS='teardown --seconds 240'": make_faults,
    "make mutants": make_mutants,
    "make mutants MUTANTS='--share 100 --modules ^dhcp/v6'": make_mutants,
    "make test-debian12": make_test_debian,
    "make test-debian13": make_test_debian,
    "make test-guest": make_test_guest,
    "make check": make_check,
    "make unit": make_unit,
    "make bench": make_bench,
    **{
        f".venv/bin/python -m pytest tests/{name}": pytest_of(f"tests/{name}")
        for name in ("netns", "clients", "conformance", "docs", "faults", "fuzz", "vm", "containers")
    },
    ".venv/bin/python -m pytest tests/netns/test_snapshots.py --update-snapshots": pytest_of(
        "tests/netns/test_snapshots.py"
    ),
    ".venv/bin/python bench/run.py": bench,
    ".venv/bin/python bench/scale.py": scale,
    ".venv/bin/python bench/throughput.py": throughput,
    ".venv/bin/python bench/start.py --beside bac6f5a": start,
    ".venv/bin/python bench/hostile.py": hostile,
    ".venv/bin/python bench/overhead.py": overhead,
    ".venv/bin/python docs/demo_svg.py": demo_svg,
    "virt-launcher prestart": prestart,
    "virt-launcher teardown": teardown,
    "virt-launcher status": status,
    "virt-launcher doctor": doctor,
    "virt-launcher doctor --quick": doctor_quick,
    **{
        f"virt-launcher {words}": without_a_vm(f"virt-launcher {words}", error)
        for words, error in (
            ("console", "no VM with a serial console runs here"),
            ("vnc", "no VM with a screen runs here"),
            ("attach blue --interface net1", NO_LAUNCHER),
            ("attach --vmi vmi.yaml", NO_LAUNCHER),
            ("detach blue", NO_LAUNCHER),
            ("link default down", NO_LAUNCHER),
        )
    },
    "virt-launcher probe": probe,
    "virt-launcher validate vmi.yaml": validate,
    "virt-launcher metrics": metrics,
    "virt-launcher capture | tshark -r -": capture,
    "virt-launcher completion bash": completion,
    "virt-launcher completion bash >~/.local/share/bash-completion/completions/virt-launcher": completion,
    "virt-launcher completion zsh >~/.zfunc/_virt-launcher": completion,
    "virt-launcher completion fish >~/.config/fish/completions/virt-launcher.fish": completion,
    "make man": make_man,
    ".venv/bin/python tests/fuzz/frames.py corpus -max_total_time=600": fuzz,
    "python -m dhcp": dhcp_alone,
    "pip install virt-launcher[testing]": extra_testing,
    "virt-launcher run --vmi vmi.yaml --disk rootdisk=/disks/root.qcow2": run,
    "virt-launcher run --disk root=debian.qcow2 --cloud-init user-data.yaml": run_described,
    "ip address flush dev tap0": followed_by_other_tests,
    "ip netns list": followed_by_other_tests,
    "ip -j": options_of_ip,
    "ip -d -j": options_of_ip,
}


@pytest.mark.root
@pytest.mark.vm
@pytest.mark.parametrize("command", COMMANDS)
def test_command(command: str, pod: Pod) -> None:
    assert command in CHECKS, f"`{command}` is in the documentation and no test runs it: add it to {__file__}"
    CHECKS[command](pod)


def test_no_check_has_lost_its_command() -> None:
    assert set(CHECKS) - set(COMMANDS) == set()


def test_options_exist() -> None:
    """Options that the text names belong to some verb."""
    verbs = re.findall(r"^    (\w+)  ", printed_help(), re.MULTILINE)
    known = {option for verb in verbs for option in re.findall(r"(?<![\w-])--[\w-]+", printed_help(verb))}
    named = {span.split()[0] for page in pages() for span in page.spans() if span.startswith("--")}
    assert named - known == set()


def printed_help(*verb: str) -> str:
    command = [BIN / "virt-launcher", *verb, "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.root
def test_python_of_the_readme(pod: Pod) -> None:
    (snippet,) = (block.body for block in README.blocks() if block.language == "python")
    with tempfile.TemporaryDirectory(prefix="vltest-") as state:
        done = pod.pod.run([*at_home(state, state), BIN / "python", "-c", snippet])
    assert done.stdout.startswith("<interface type=")


@pytest.mark.root
def test_example_of_the_library() -> None:
    done = subprocess.run([BIN / "python", ROOT / "docs/example.py"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    handed_over, lease, put_back = done.stdout.splitlines()
    assert re.fullmatch(r"handed over in \d+ ms: 10\.244\.1\.5/24", handed_over)
    assert lease == "the guest got 10.244.1.5/24 via 10.244.1.1, MTU 1500"
    assert put_back == "put back: eth0 has 10.244.1.5/24 and MAC 0a:58:0a:f4:01:05"
    assert not [name for name in os.listdir("/run/netns") if name.startswith("example")]


def launcher(pod: Pod, *commands: str, directory: str | None = None) -> str:
    """Run `virt-launcher` commands in the pod as they stand, each of which must succeed; what they print."""
    printed = ""
    with tempfile.TemporaryDirectory(prefix="vltest-") as state:
        for command in commands:
            program, *arguments = shlex.split(command)
            done = pod.pod.run([*at_home(state, directory or state), BIN / program, *arguments], timeout=60)
            printed += done.stdout
    return printed


def at_home(state: str, directory: str) -> list[str]:
    """What runs a command line in `directory`, with a state directory that nobody else sees in the default one's place.

    The mount ends with the program: `ip netns exec` makes a mount namespace for each.
    """
    Path("/run/virt-launcher").mkdir(exist_ok=True)
    mount = 'mount --bind "$1" /run/virt-launcher && cd "$2" && shift 2 && exec "$@"'
    return ["sh", "-c", mount, "sh", state, directory]


def empty_qcow2(size: int) -> bytes:
    """An image of `size` bytes without content, version 2 of the format (qemu docs/interop/qcow2)."""
    cluster = 1 << 16
    fields = (
        (4, 0x514649FB),
        (4, 2),
        (8, 0),
        (4, 0),
        (4, 16),
        (8, size),
        (4, 0),
        (4, 1),
        (8, cluster),
        (8, 2 * cluster),
        (4, 1),
        (4, 0),
        (8, 0),
    )
    header = b"".join(value.to_bytes(width) for width, value in fields)
    counts = (1).to_bytes(2) * 4
    clusters = (header, b"", (3 * cluster).to_bytes(8), counts)
    return b"".join(content.ljust(cluster, b"\0") for content in clusters)
