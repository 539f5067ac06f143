"""The images of deploy/Containerfile: their size, what is in them and what is not, and that they run as they are."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from lab.podman import IMAGE, ROOT, Podman

from launcher.demo.guest_image import build_guest

from .guest import Machine, guest_manifest, prepare_files

pytestmark = pytest.mark.root

LIMITS = {"net": 90, "full": 300}
"""Megabytes of each image."""
LEFT_OUT = r"usr/include/|\.h$|/perl|iso-codes|libicu|\.a$|bin/(apt|bash|cc|dpkg|gcc.*|ld|pip.*)$"
NETWORK = ["--cap-drop", "all", "--cap-add", "NET_ADMIN,NET_RAW", "--security-opt", "unmask=/proc/sys"]
TUN = ["--device", "/dev/net/tun"]


@pytest.mark.parametrize("target", LIMITS)
def test_an_image_is_small_and_says_what_it_is(podman: Podman, target: str) -> None:
    described = podman.inspect(f"{IMAGE}:{target}")
    assert described["Size"] <= LIMITS[target] * 1_000_000
    config = described["Config"]
    assert config["User"] == "107:107"
    assert config["Entrypoint"] == ["virt-launcher"]
    assert described["Healthcheck"]["Test"] == ["CMD", "virt-launcher", "doctor", "--quick"]
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items() if "opencontainers" in name}
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert labels["revision"] == head.stdout.strip()
    assert (labels["licenses"], labels["version"]) == ("Apache-2.0", "0.1.0")


@pytest.mark.parametrize("target", LIMITS)
def test_an_image_has_no_tools_to_build_with(podman: Podman, target: str) -> None:
    find = ("find", f"{IMAGE}:{target}", "/", "-xdev", "-type", "f")
    listed = podman.run("run", "--rm", "--user", "0", "--entrypoint", *find)
    files = listed.stdout.splitlines()
    assert "/usr/bin/busybox" in files
    assert [file for file in files if re.search(LEFT_OUT, file)] == []
    # of every package, what scanners look for
    assert "/var/lib/dpkg/status.d/libc6" in files
    assert ("/var/lib/dpkg/status.d/qemu-system-x86" in files) == (target == "full")
    # what libvirt starts, and no test here does
    assert ("/usr/libexec/virtiofsd" in files) == (target == "full")


def test_the_hook_runs_in_the_small_image_as_an_ordinary_user(podman: Podman) -> None:
    health = "virt-launcher doctor --quick"
    script = f"{health}; virt-launcher prestart && {health} && virt-launcher teardown"
    run = ("run", "--rm", "--network", "blue", *NETWORK, *TUN, "--entrypoint", "sh")
    done = podman.run(*run, f"{IMAGE}:net", "-c", script)
    assert "nothing is set up" in done.stdout
    assert "ok    DHCP server" in done.stdout


def test_run_in_the_small_image_names_what_it_lacks(podman: Podman) -> None:
    spec = {"domain": {"devices": {}, "memory": {"guest": "64Mi"}}}
    kind = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance"}
    (podman.folder / "vmi.json").write_text(json.dumps({**kind, "metadata": {"name": "vm"}, "spec": spec}))
    run = ["run", "--rm", "--network", "blue", *NETWORK, *TUN]
    mount = ["--volume", f"{podman.folder / 'vmi.json'}:/vmi.json:ro"]
    done = podman.run(*run, *mount, f"{IMAGE}:net", "run", "--vmi", "/vmi.json", check=False)
    assert done.returncode == 2
    assert "virt-launcher[run]" in done.stderr


@pytest.mark.vm
def test_a_machine_has_uefi_and_a_tpm_in_the_full_image(podman: Podman) -> None:
    """Of an ordinary user, as the image is."""
    files = prepare_files(build_guest(), podman.folder / "uefi")
    vmi = guest_manifest(tpm={})
    domain = vmi["spec"]["domain"]
    domain["memory"]["guest"] = "256Mi"
    domain["firmware"]["bootloader"] = {"efi": {"secureBoot": False}}
    (files / "vmi.yaml").write_text(json.dumps(vmi))
    run = ("run", "--detach", "--name", "uefi", "--network", "blue", "--no-healthcheck", *NETWORK, *TUN)
    podman.run(*run, "--volume", f"{files}:/boot:ro", f"{IMAGE}:full", "run", "--vmi", "/boot/vmi.yaml")
    machine = Machine(podman, "uefi")
    machine.await_lease()
    shown = machine.command("ls -d /sys/firmware/efi /sys/firmware/acpi/tables/TPM2")
    assert shown.split() == ["/sys/firmware/acpi/tables/TPM2", "/sys/firmware/efi"]
    podman.run("rm", "--force", "--time", "0", "uefi")
