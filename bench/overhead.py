#!/usr/bin/env python3
"""Measure the memory of a running VM's processes: `.venv/bin/python bench/overhead.py`, as root.

PSS (proc_pid_smaps(5)) of each process below `virt-launcher run`, with a small Linux that has its lease.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":  # Python would look for modules beside this file, where `dhcp` is another one
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench.laboratory import pss_mib
from launcher.demo.guest_image import build_guest, kernel_arguments, parse_reports
from launcher.testing.pod import Pod
from launcher.testing.waiting import wait_until

LAUNCHER = Path(sys.executable).with_name("virt-launcher")
GUEST_MIB = 256
SETTLED_SECONDS = 5
"""After the lease: until the guest has ended its start."""


def manifest() -> str:
    image = build_guest()
    kernel = {"kernelPath": str(image.kernel), "initrdPath": str(image.initrd)}
    boot = {"kernelBoot": {"kernelArgs": kernel_arguments(), "container": kernel}}
    document = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "overhead"},
        "spec": {"domain": {"memory": {"guest": f"{GUEST_MIB}Mi"}, "firmware": boot, "devices": {}}},
    }
    return json.dumps(document)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Pod("flannel", guest_port=False) as pod:
        vmi, console = Path(folder, "vmi.json"), Path(folder, "state/console.log")
        vmi.write_text(manifest())
        launcher = pod.pod.popen([LAUNCHER, "run", "--vmi", vmi, "--state-dir", Path(folder, "state")])
        wait_until(lambda: console.exists() and any(r.event == "lease" for r in parse_reports(console.read_text())))
        time.sleep(SETTLED_SECONDS)
        rows = []
        for pid in pod.pod.processes():
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            shared, alone = pss_mib(pid)
            rows.append((" ".join(Path(word).name for word in words[:3])[:40].strip(), shared, alone))
        launcher.terminate()
        launcher.wait()
    show(rows)


def show(rows: list[tuple[str, float, float]]) -> None:
    print("| process | PSS, MiB | alone, MiB |\n|---|---:|---:|")
    for name, shared, alone in rows:
        print(f"| {name} | {shared:.1f} | {alone:.1f} |")
    beside = [(shared, alone) for name, shared, alone in rows if "qemu" not in name]
    shared, alone = (sum(column) for column in zip(*beside, strict=True))
    print(f"| **all but QEMU** | **{shared:.1f}** | **{alone:.1f}** |")


if __name__ == "__main__":
    main()
