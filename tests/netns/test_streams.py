"""The command line's output, and that no stream of the caller stays open after it has returned."""

from __future__ import annotations

import json
import os
import select
import subprocess
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import pytest
from lab.agent import Agent
from lab.pod import Pod
from lab.rawclient import RawClient
from lab.waiting import PATIENCE

pytestmark = pytest.mark.root

LEVELS = {"debug", "info", "warning", "error", "critical"}


def records(text: str) -> list[dict[str, Any]]:
    """The JSON log lines, each of which must have a time, a level, a logger and a message."""
    parsed = [json.loads(line) for line in text.splitlines()]
    assert all(datetime.fromisoformat(record["time"]).tzinfo and record["level"] in LEVELS for record in parsed)
    assert all(record["logger"] and isinstance(record["message"], str) for record in parsed)
    return parsed


def test_json_log(pod: Pod, agent: Agent) -> None:
    said = records(agent.run("prestart", "--log-format", "json", "--verbose", check=True).stderr)
    assert len(said) > 3
    assert all(set(record) == {"time", "level", "logger", "message"} for record in said)
    pod.guest.ip("link set eth0 up")
    with RawClient(pod.guest) as client:
        assert client.discover()
    records(agent.run("teardown", "--log-format", "json", check=True).stderr)


def test_json_log_of_the_server(pod: Pod, agent: Agent) -> None:
    agent.prestart("--log-format", "json")
    pod.guest.ip("link set eth0 up")
    with RawClient(pod.guest) as client:
        assert client.discover()
    agent.wait_for_log("DISCOVER")
    told = [record["data"] for record in records(agent.log()) if record["event"] == "dhcp"]
    assert [(record["message"], record["answer"], record["client"]) for record in told] == [
        ("DISCOVER", "OFFER", pod.mac)
    ]


def test_json_log_of_a_refusal(pod: Pod, agent: Agent) -> None:
    pod.pod.ip("link delete eth0")
    completed = agent.run("prestart", "--log-format", "json")
    assert completed.returncode == 2
    (record,) = records(completed.stderr)
    assert (record["level"], record["logger"]) == ("error", "launcher")
    assert "eth0" in record["message"]


def test_text_log_says_each_step(agent: Agent) -> None:
    quiet, verbose = agent.run("prestart", check=True), agent.run("teardown", "--verbose", check=True)
    assert quiet.stderr == ""
    assert verbose.stdout == ""
    lines = verbose.stderr.splitlines()
    assert len(lines) > 3
    assert all(line.startswith("virt-launcher: ") for line in lines)


def test_the_callers_pipes_and_folder_are_free_when_it_returns(pod: Pod, agent: Agent, tmp_path: Path) -> None:
    """Standard streams, a pipe that happened to be inheritable, the working directory: the server keeps none."""
    extra, held = os.pipe()
    with subprocess.Popen(
        pod.pod.command(agent.command("prestart")),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[held],
        cwd=tmp_path,
    ) as process:
        os.close(held)
        assert process.wait(PATIENCE) == 0
        (server,) = pod.pod.processes()
        assert process.stdin
        assert process.stdout
        assert process.stderr
        for stream in (process.stdout, process.stderr, os.fdopen(extra, "rb")):
            assert_ends(stream)
        with pytest.raises(BrokenPipeError):
            os.write(process.stdin.fileno(), b"anything")
    assert pod.pod.processes() == [server]
    assert Path(f"/proc/{server}/cwd").samefile("/")


def assert_ends(stream: IO[bytes]) -> None:
    """Assert that the pipe is at its end, because no process has the other end open."""
    with stream:
        while True:
            ready, _, _ = select.select([stream], [], [], 1)
            assert ready, "somebody has the other end open"
            if not os.read(stream.fileno(), 1 << 16):
                return
