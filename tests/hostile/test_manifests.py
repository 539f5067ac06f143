"""Manifests that are made to hold up or to mislead whoever reads them: each is refused in one line, soon."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dhcp.lean.text import printable
from launcher.manifest.limits import MOST_OCTETS
from launcher.manifest.reader import parse_documents
from launcher.vmi.errors import ManifestError
from launcher.vmi.load import load_request, load_vmi


def bomb(first: str, form: str) -> str:
    """Nine levels, each with nine times what the one before has."""
    lines = [f"a: &a {first}"]
    for level in range(9):
        before = ",".join(f"*{chr(97 + level)}" for _ in range(9))
        lines.append(f"{chr(98 + level)}: &{chr(98 + level)} {form.format(before)}")
    return "\n".join(lines) + "\n"


TOO_MUCH = {
    "aliases": (bomb("[x, x, x, x, x, x, x, x, x]", "[{}]"), "has more than 20000 elements with its aliases expanded"),
    "merges of new keys": (
        "a: &a {k: v, l: w}\n"
        + "".join(f"{c}: &{c} {{<<: [{','.join(['*' + chr(ord(c) - 1)] * 9)}], m{c}: 1}}\n" for c in "bcdefghij"),
        "more than 1000 keys",
    ),
    "a list that holds itself": ("a: &a [*a]\n", "is nested too deeply"),
    "an object that holds itself": ("a: &a {b: *a}\n", "is nested too deeply"),
    "elements": ("a: [" + "0," * 400_000 + "0]\n", "has more than 20000 elements"),
    "lines": ("a:\n" + "- 0\n" * 200_000, "has more than 20000 elements"),
    "keys": ("".join(f"a{n}: &x{n} 1\n" for n in range(19_000)), "more than 1000 keys"),
    "open lists": ("[" * 900_000, "is nested too deeply"),
    "open objects": ("{" * 900_000, "is nested too deeply"),
    "levels": ("".join(" " * n + "a:\n" for n in range(500)), "is nested too deeply"),
    "digits": ("a: " + "9" * 900_000 + "\n", "digits"),
}
NO_TEXT = {
    r'metadata: {name: "\x1b[31m"}': "metadata.name: holds U+001B",
    r'spec: {hostname: "\ud800"}': "spec.hostname: holds U+D800",
    r'spec: {domain: {firmware: {kernelBoot: {kernelArgs: "a\0b"}}}}': "kernelBoot.kernelArgs: holds U+0000",
    r'spec: {networks: [{name: "\u009b1m"}]}': "spec.networks[0].name: holds U+009B",
    r'"\x07": 1': r"\x07: holds U+0007",
    r'spec: {domain: {firmware: {kernelBoot: {kernelArgs: "a\uffffb"}}}}': "kernelBoot.kernelArgs: holds U+FFFF",
}


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, (text, _) in TOO_MUCH.items()])
def test_too_much_is_refused(text: str) -> None:
    reason = next(reason for other, reason in TOO_MUCH.values() if other is text)
    with pytest.raises(ManifestError, match=reason) as refusal:
        parse_documents(text, "vmi.yaml")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", NO_TEXT)
def test_what_is_no_text_is_refused_by_its_path(text: str) -> None:
    with pytest.raises(ManifestError) as refusal:
        parse_documents(text, "vmi.yaml")
    assert NO_TEXT[text] in str(refusal.value)
    assert str(refusal.value).isprintable()


def test_many_unknown_fields_are_refused_soon(tmp_path: Path) -> None:
    disks = [{"name": f"d{n}", "nam": 1, "bootOrder": 0, **{f"name{m}": 1 for m in range(10)}} for n in range(500)]
    spec = {"domain": {"devices": {"disks": disks}}, "volumes": [{"name": f"d{n}"} for n in range(500)]}
    document = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": {"name": "vm"}}
    (tmp_path / "vm.json").write_text(json.dumps({**document, "spec": spec}))
    for load in (load_vmi, load_request):
        before = time.process_time()
        with pytest.raises(ManifestError) as refusal:
            load(tmp_path / "vm.json")
        assert len(refusal.value.lines) == 101
        assert refusal.value.lines[-1].endswith("more problems: correct these first")
        assert time.process_time() - before < 5


def test_text_of_several_lines_is_text() -> None:
    assert parse_documents('a: "line\\n\\tline\\r\\n"\n', "vmi.yaml") == [{"a": "line\n\tline\r\n"}]


@pytest.mark.parametrize("source", ["/dev/zero", "large"])
def test_a_file_without_an_end_is_refused(source: str, tmp_path: Path) -> None:
    if source == "large":
        (tmp_path / "large").write_text(" " * MOST_OCTETS + "a: 1\n")
        source = str(tmp_path / "large")
    program = Path(sys.executable).with_name("virt-launcher")
    done = subprocess.run(
        [program, "prestart", "--vmi", source, "--dry-run"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "is larger than 1048576 bytes" in done.stderr


def test_a_log_line_is_fit_for_a_terminal() -> None:
    assert printable("eth0\x1b]0;title\x07 \udc80 ü\n") == r"eth0\x1b]0;title\x07 \udc80 ü\n"


def test_a_long_value_is_quoted_in_short(tmp_path: Path) -> None:
    manifest = tmp_path / "vmi.yaml"
    manifest.write_text(f"apiVersion: {'x' * 900_000}\nkind: VirtualMachineInstance\nmetadata: {{name: vm}}\n")
    with manifest.open("a") as file:
        file.write("spec: {domain: {}}\n")
    program = Path(sys.executable).with_name("virt-launcher")
    words = [program, "prestart", "--vmi", manifest, "--dry-run"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("virt-launcher: error: apiVersion: must be kubevirt.io/v1, is xxx")
    assert len(done.stderr) < 2500


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_manifest_adds_no_line_to_the_log(log_format: str, tmp_path: Path) -> None:
    manifest = tmp_path / "vmi.yaml"
    manifest.write_text(
        'apiVersion: "a\\nvirt-launcher: all is well"\nkind: VirtualMachineInstance\nmetadata: {name: vm}\n'
    )
    with manifest.open("a") as file:
        file.write("spec: {domain: {}}\n")
    program = Path(sys.executable).with_name("virt-launcher")
    words = [program, "prestart", "--log-format", log_format, "--vmi", manifest, "--dry-run"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert r"a\nvirt-launcher: all is well" in line
