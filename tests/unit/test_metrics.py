"""The metrics: names, values for a pod, the page and the dashboard that name them, and where they are served."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from docs.pages import ROOT
from lab.waiting import PATIENCE
from prometheus_client.parser import text_string_to_metric_families

from dhcp.lean.frozen import replace
from launcher.sight import exposition, metrics
from launcher.sight.endpoint import Endpoint, parse_address
from launcher.sight.exposition import PodCollector, text_of
from launcher.sight.history import History
from launcher.sight.metric_table import TABLE
from launcher.sight.status import LeaseStatus, NetworkStatus, Status
from netsetup.errors import InvalidRequest

LABELS = {metric.name: metric.labels for metric in TABLE}
LEASE = LeaseStatus("10.0.0.2", "2026-11-30T01:00:00Z", 60.0, True, 3_540.0, 75_540.0, 86_340.0)
GIVEN_BACK = LeaseStatus("fd00::2", "2026-11-30T01:00:00Z", 1.0, False, None, None, None)
NETWORK = NetworkStatus(
    name="default",
    binding="bridge",
    pod_interface="eth0",
    bridge="k6t-eth0",
    guest_port="tap0",
    path=("eth0", "k6t-eth0", "tap0"),
    missing=(),
    replaced=False,
    mac="02:00:00:00:00:05",
    mac_source="spec",
    mtu=1450,
    address="10.0.0.2/24",
    address6="fd00::2/64",
    further_addresses=(),
    further_sources=(),
    name_servers={},
    isolated=True,
    dropped={"arp": 3},
    dropped_sources={},
    causes={"arp": "ARP packets"},
    forwarded={"tcp-80": 2},
    pod_mac="02:00:00:00:00:06",
    pod_addresses=("10.0.0.2/24",),
    guest_connected=True,
    leases=(LEASE, GIVEN_BACK),
)
PORT = {
    "interface": "tap0",
    "answered": {"ACK": 2, "NAK": 1},
    "ignored": {"foreign-mac": 4},
    "advertisements": 7,
    "floods": 0,
    "send_errors": 0,
}
SERVER = {"pid": 7, "problem": "", "started": 1000.5, "suppressed_lines": 0, "ports": [PORT]}
STATUS = Status((NETWORK,), ("a step",), "", SERVER, (), "pid 3, virt-launcher run", History((("total", 0.08),), 1, 2))
NOW = 2000.0


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> PodCollector:
    monkeypatch.setattr(metrics, "read_status", lambda _: STATUS)
    monkeypatch.setattr(metrics.time, "time", lambda: NOW)
    return PodCollector(None, lambda: iter([("teardown_duration_seconds", (), 0.1)]))


def samples(text: str) -> dict[tuple[str, str], float]:
    """The values by name and labels, as the client library reads them back."""
    return {
        (
            sample.name.removeprefix("virt_launcher_"),
            " ".join(sample.labels[name] for name in LABELS[sample.name]),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_values_of_a_pod(collector: PodCollector) -> None:
    text = text_of(collector)
    found = samples(text)
    assert {name for name, _ in found} == {metric.name.removeprefix("virt_launcher_") for metric in TABLE}
    assert {family.name: family.type for family in text_string_to_metric_families(text)} == {
        metric.name.removesuffix("_total"): metric.kind for metric in TABLE
    }
    expected = {
        ("dhcp_answers_total", "default NAK"): 1,
        ("dhcp_ignored_total", "default foreign-mac"): 4,
        ("router_advertisements_total", "default"): 7,
        ("dropped_packets_total", "default arp"): 3,
        ("forwarded_connections_total", "default tcp-80"): 2,
        ("lease_held", "default ipv4"): 1,
        ("lease_held", "default ipv6"): 0,
        ("lease_renewed_timestamp_seconds", "default ipv4"): NOW - 60,
        ("lease_expiry_timestamp_seconds", "default ipv4"): NOW + 86_340,
        ("dhcp_restarts_total", ""): 2,
        ("convergences_total", ""): 1,
        ("pending_steps", ""): 1,
        ("setup_duration_seconds", "total"): 0.08,
        ("teardown_duration_seconds", ""): 0.1,
        ("guest_up", "default"): 1,
        ("launcher_up", ""): 1,
        ("dhcp_up", ""): 1,
        ("set_up", ""): 1,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert ("lease_expiry_timestamp_seconds", "default ipv6") not in found


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (None, {("status_readable", ""): 1, ("set_up", ""): 0}),
        (replace(STATUS, dhcp=None, networks=()), {("set_up", ""): 1, ("dhcp_up", ""): 0}),
        (replace(STATUS, dhcp={"pid": 7, "problem": "of another release"}), {("dhcp_up", ""): 0}),
        (InvalidRequest("another hook"), {("status_readable", ""): 0}),
    ],
)
def test_a_pod_that_lacks_something(
    status: Status | Exception | None, expected: dict[tuple[str, str], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(_: object) -> Status | None:
        if isinstance(status, Exception):
            raise status
        return status

    monkeypatch.setattr(metrics, "read_status", read)
    found = samples(text_of(PodCollector(None)))
    assert {key: found.get(key) for key in expected} == expected


@pytest.mark.parametrize("metric", TABLE, ids=lambda metric: metric.name)
def test_names_follow_the_conventions(metric: Any) -> None:
    """Of https://prometheus.io/docs/practices/naming, and what `promtool check metrics` looks for."""
    assert re.fullmatch("virt_launcher(_[a-z0-9]+)+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert not re.search("_(count|sum|bucket|gauge|counter|milliseconds|ms|minutes|hours|kb)(_|$)", metric.name)
    assert re.fullmatch(r"[A-Z].*\.", metric.help)
    for label in metric.labels:
        assert re.fullmatch("[a-z][a-z_]*", label)
        assert label not in ("le", "quantile", "job", "instance")
    assert len({other.name for other in TABLE}) == len(TABLE)


def test_the_page_lists_them() -> None:
    """docs/operating.md, in the table's own words."""
    page = (ROOT / "docs/operating.md").read_text()
    rows = [f"| `{m.name}` | {m.kind} | {', '.join(f'`{label}`' for label in m.labels)} | {m.help} |" for m in TABLE]
    assert re.findall(r"^\| `virt_launcher_.*\|$", page, re.MULTILINE) == rows


def expressions(value: Any) -> Iterator[str]:
    """Every query of a dashboard, wherever it is."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if key in ("expr", "query", "definition") and isinstance(item, str):
            yield item
        yield from expressions(item)


def test_the_dashboard_queries_what_there_is() -> None:
    dashboard = json.loads((ROOT / "deploy/grafana-dashboard.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    queried = [query for query in expressions(dashboard) if "virt_launcher_" in query]
    assert len(queried) >= len(panels)
    for query in queried:
        names = re.findall(r"virt_launcher_\w+", query)
        assert set(names) <= LABELS.keys(), query
        of_these = {"pod", "namespace", "job"}.union(*(LABELS[name] for name in names))
        for labels in re.findall(r"(?:by|without|on|ignoring|group_left) ?\(([^)]*)\)", query):
            assert set(re.findall(r"\w+", labels)) <= of_these, query
        for label in re.findall(r"(\w+)(?:=|!=|=~|!~)\"", query):
            assert label in of_these, query
    unseen = {metric.name for metric in TABLE} - set(re.findall(r"virt_launcher_\w+", " ".join(queried)))
    assert unseen <= {
        "virt_launcher_teardown_duration_seconds",  # seen by no scrape but the last
        "virt_launcher_network_mtu_bytes",
        "virt_launcher_dhcp_suppressed_log_lines_total",
    }


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9400", ("127.0.0.1", 9400)),
        (":9400", ("127.0.0.1", 9400)),
        ("0.0.0.0:9400", ("0.0.0.0", 9400)),
        ("[::1]:9400", ("::1", 9400)),
        ("unix:/run/x", "/run/x"),
        *((text, None) for text in ("", "0", "65536", "host:1", "::1:9400", "[127.0.0.1]:1", "unix:", "1.2.3.4", "٣")),
        (f"unix:/{'x' * 107}", None),
    ],
)
def test_addresses(text: str, address: object) -> None:
    if address is None:
        with pytest.raises(ValueError, match=r"^must be "):
            parse_address(text)
    else:
        assert parse_address(text) == address


def test_metrics_are_served_on_loopback(collector: PodCollector) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    endpoint = Endpoint(("127.0.0.1", port))
    with pytest.raises(InvalidRequest, match=rf"^--metrics: 127.0.0.1 port {port}: Address already in use"):
        Endpoint(("127.0.0.1", port))
    endpoint.serve(collector)
    for _ in range(2):
        scrape = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        scrape.request("GET", "/metrics")
        answer = scrape.getresponse()
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        assert samples(answer.read().decode())["dhcp_restarts_total", ""] == 2
        scrape.close()
    endpoint.close()
    assert endpoint._thread
    endpoint._thread.join(PATIENCE)
    assert not endpoint._thread.is_alive()
    with pytest.raises(ConnectionRefusedError), socket.socket() as client:
        client.connect(("127.0.0.1", port))


def test_a_unix_socket_that_was_left_is_taken_over(tmp_path: Path) -> None:
    path = str(tmp_path / "m")
    left = socket.socket(socket.AF_UNIX)
    left.bind(path)
    left.close()
    endpoint = Endpoint(path)
    assert Path(path).stat().st_mode & 0o777 == 0o660
    with pytest.raises(InvalidRequest, match="Address already in use"):
        Endpoint(path)
    endpoint.close()
    assert not Path(path).exists()


def test_a_file_in_the_way_stays(tmp_path: Path) -> None:
    file = tmp_path / "m"
    file.write_text("precious")
    with pytest.raises(InvalidRequest, match="File exists; name another"):
        Endpoint(str(file))
    assert file.read_text() == "precious"


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(exposition.MissingFeature, match=r"pip install 'virt-launcher\[metrics\]'$"):
        exposition.require_library()
