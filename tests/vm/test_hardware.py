"""The hardware of manifests for Windows and for UEFI, as libvirt and QEMU really have it."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from lab.agent import Agent
from lab.pod import MakePod
from lab.waiting import PATIENCE

from .conftest import Boot
from .entrypoint import Entrypoint
from .machine import ADDRESS
from .test_run import directory, pod

__all__ = ["directory", "pod"]

pytestmark = [pytest.mark.vm, pytest.mark.root]

WINDOWS: dict[str, Any] = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "VirtualMachine",
    "metadata": {"name": "windows"},
    "spec": {
        "running": True,
        "template": {
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "domain": {
                    "clock": {
                        "utc": {},
                        "timer": {"hpet": {"present": False}, "hyperv": {}, "pit": {"tickPolicy": "delay"}},
                    },
                    "cpu": {"cores": 2},
                    "memory": {"guest": "256Mi"},
                    "features": {
                        "acpi": {},
                        "apic": {},
                        "smm": {},
                        "kvm": {"hidden": True},
                        "hyperv": {"relaxed": {}, "vapic": {}, "spinlocks": {"spinlocks": 8191}, "synictimer": {}},
                    },
                    "firmware": {"bootloader": {"efi": {"secureBoot": True, "persistent": True}}},
                    "ioThreadsPolicy": "auto",
                    "devices": {
                        "blockMultiQueue": True,
                        "disks": [{"name": "scratch", "disk": {"bus": "virtio"}}, {"name": "answers", "cdrom": {}}],
                        "inputs": [{"name": "tablet", "type": "tablet", "bus": "usb"}],
                        "interfaces": [
                            {"name": "default", "model": "e1000", "bridge": {}, "pciAddress": "0000:02:01.0"}
                        ],
                        "sound": {"name": "sound"},
                        "tpm": {"persistent": True},
                        "watchdog": {"name": "watchdog", "i6300esb": {"action": "reset"}},
                    },
                },
                "networks": [{"name": "default", "pod": {}}],
                "volumes": [
                    {"name": "scratch", "emptyDisk": {"capacity": "64Mi"}},
                    {"name": "answers", "cloudInitNoCloud": {"userData": "#cloud-config"}},
                ],
            }
        },
    },
}


def test_a_manifest_for_windows(make_pod: MakePod, directory: Path) -> None:
    machine = Entrypoint(make_pod(guest_port=False), directory, WINDOWS)
    machine.await_event("started")
    with socket.socket(socket.AF_UNIX) as vnc:
        vnc.settimeout(PATIENCE)
        vnc.connect(str(machine.state_dir / "vnc.sock"))
        assert vnc.recv(12) == b"RFB 003.008\n"
    assert (machine.state_dir / "agent.sock").exists()
    command = [Agent.program(), "vnc", "--state-dir", machine.state_dir, "--output", "json"]
    told = json.loads(machine.pod.pod.run(command).stdout)
    assert told == {"socket": str(machine.state_dir / "vnc.sock")}
    machine.terminate()
    assert machine.await_end() == 4, machine.errors()
    assert any("they need KVM" in line for line in machine.messages("warning")) == (
        machine.event("accelerator")["name"] == "tcg"
    )
    left = {path.name for path in machine.state_dir.iterdir()}
    assert left == {"console.log", "efi-variables.fd", "libvirt"}
    assert list((machine.state_dir / "libvirt").rglob("tpm2-00.permall")), "what the TPM holds is there for the next VM"
    machine.assert_pod_restored()


def test_uefi_boots(boot: Boot) -> None:
    machine = boot(settings={"then": "poweroff"}, bootloader={"efi": {"secureBoot": False}}, memory={"guest": "256Mi"})
    assert machine.await_report("lease").fields["address"] == ADDRESS
    assert machine.await_end() == 0
