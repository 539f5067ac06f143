"""What shells and man(1) make of the command line: bash, zsh and fish complete it, and mandoc reads its page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.cli import VERBS
from launcher.verbs.tools import completion
from netsetup.errors import MissingFeature

from .pages import ROOT

PROGRAM = Path(sys.executable).with_name("virt-launcher")


def shell(*words: str | Path, program: str = "") -> list[str]:
    """The lines that a shell prints, and nothing on standard error."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LC_ALL": "C.UTF-8", "TERM": "dumb"}
    done = subprocess.run([*words, program], capture_output=True, text=True, env=environment, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def completed_by_bash(script: Path, *words: str) -> list[str]:
    listed = " ".join(f"'{word}'" for word in words)
    program = f"source {script}; COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; "
    program += """f=$(complete -p virt-launcher); f=${f##*-F }; "${f% *}"; printf '%s\\n' "${COMPREPLY[@]}" """
    return shell("bash", "--norc", "-c", program=program)


def completed_by_fish(script: Path, *words: str) -> list[str]:
    lines = shell("fish", "--no-config", "-c", program=f"source {script}; complete -C '{' '.join(words)}'")
    return [line.partition("\t")[0] for line in lines]


@pytest.fixture
def script(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"_virt-launcher.{request.param}"
    path.write_text(
        subprocess.run([PROGRAM, "completion", request.param], capture_output=True, text=True, check=True).stdout
    )
    return path


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash_completes(script: Path, tmp_path: Path) -> None:
    assert set(completed_by_bash(script, "virt-launcher", "")) >= set(VERBS)
    assert completed_by_bash(script, "virt-launcher", "tear") == ["teardown"]
    assert "--watch" in completed_by_bash(script, "virt-launcher", "status", "--w")
    assert set(completed_by_bash(script, "virt-launcher", "completion", "")) >= {"bash", "zsh", "fish"}
    (tmp_path / "vmi.yaml").write_text("")
    assert completed_by_bash(script, "virt-launcher", "run", "--vmi", f"{tmp_path}/v") == [f"{tmp_path}/vmi.yaml"]


@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish_completes(script: Path) -> None:
    assert set(completed_by_fish(script, "virt-launcher", "")) >= set(VERBS)
    assert completed_by_fish(script, "virt-launcher", "tear") == ["teardown"]
    assert completed_by_fish(script, "virt-launcher", "status", "--wat") == ["--watch"]
    assert set(completed_by_fish(script, "virt-launcher", "completion", "")) >= {"bash", "zsh", "fish"}


@pytest.mark.parametrize("script", ["zsh"], indirect=True)
def test_zsh_loads_it(script: Path, tmp_path: Path) -> None:
    """As a file of its function path, and as a line of .zshrc."""
    script.rename(tmp_path / "_virt-launcher")
    begin = "autoload -Uz compinit; compinit -u -D; "
    program = f"fpath=({tmp_path} $fpath); {begin} print $_comps[virt-launcher]; autoload +X _virt-launcher"
    assert shell("zsh", "-f", "-c", program=program) == ["_virt-launcher"]
    program = f'{begin} eval "$(<{tmp_path}/_virt-launcher)"; print $_comps[virt-launcher]; '
    program += 'print -l ${(f)"$(whence -f _shtab_virt_launcher_commands)"}'
    function, *commands = shell("zsh", "-f", "-c", program=program)
    assert function == "_shtab_virt_launcher"
    assert [verb for verb in VERBS if f"{verb}:" not in " ".join(commands)] == []


def test_without_shtab_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(MissingFeature, match=r"pip install 'virt-launcher\[completion\]'$"):
        completion.script("bash")


def test_the_manual_page(tmp_path: Path) -> None:
    """All verbs and options, the exit codes, and nothing that mandoc warns of."""
    page = tmp_path / "man1/virt-launcher.1"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    subprocess.run(["make", "-s", "man", f"MAN={page}"], cwd=ROOT, check=True, env=environment)
    assert shell("mandoc", "-T", "lint", "-W", "warning", program=str(page)) == []
    text = "\n".join(shell("mandoc", "-T", "utf8", "-O", "width=200", program=str(page)))
    plain = re.sub(".\b", "", text)  # bold and underlined as on a typewriter
    wanted = ("--watch", "--metrics ADDRESS", "EXIT STATUS", "grace period", *VERBS)
    assert [words for words in wanted if words not in plain] == []
