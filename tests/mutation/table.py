"""Which modules are mutated, and which tests are to notice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

DHCP_VALUES = (
    "tests/unit/test_dhcp_headers.py",
    "tests/unit/test_dhcp_messages.py",
    "tests/unit/test_dhcp_served.py",
    "tests/unit/test_dhcp_served6.py",
    "tests/unit/test_dhcp_option_kinds.py",
    "tests/unit/test_dhcp_limits.py",
    "tests/unit/test_dhcp_times.py",
    "tests/unit/test_dhcp_filter_octets.py",
)
DHCP4 = (
    "tests/unit/test_dhcp_options.py",
    "tests/unit/test_dhcp_config_options.py",
    "tests/unit/test_dhcp_config.py",
    "tests/unit/test_dhcp_addresses.py",
    "tests/conformance/test_v4_messages.py",
    "tests/conformance/test_v4_options.py",
    "tests/conformance/test_v4_received.py",
    "tests/conformance/test_v4_replies.py",
    "tests/conformance/test_arp.py",
    "tests/unit/test_client_config.py",
    "tests/unit/test_dhcp_handler.py",
)
DHCP6 = (
    "tests/conformance/test_ra.py",
    "tests/conformance/test_v6_messages.py",
    "tests/conformance/test_v6_received.py",
    "tests/unit/test_dhcp_ra_timers.py",
    "tests/unit/test_client_config6.py",
    "tests/fuzz/test_properties6.py",
)
DHCP_IO = (
    "tests/unit/test_lease_ends.py",
    "tests/unit/test_dhcp_filter6.py",
    "tests/unit/test_dhcp_flood_guard.py",
    "tests/unit/test_dhcp_guest_port.py",
    "tests/unit/test_dhcp_log.py",
    "tests/unit/test_doctor_filter.py",
)
PLAN = (
    "tests/unit/test_whole_plans.py",
    "tests/unit/test_refused_pods.py",
    "tests/unit/test_model.py",
    "tests/unit/test_routing.py",
    "tests/unit/test_route_order.py",
    "tests/unit/test_carried_dns.py",
    "tests/unit/test_kernel_numbers.py",
    "tests/unit/test_plan.py",
    "tests/unit/test_fwd_plan.py",
    "tests/unit/test_masquerade_plan.py",
    "tests/unit/test_pod_interface.py",
    "tests/unit/test_lifetimes.py",
    "tests/unit/test_client_config.py",
    "tests/unit/test_client_config6.py",
    "tests/unit/test_resolver.py",
    "tests/unit/test_migrated_records.py",
    "tests/unit/test_binding_seam.py",
    "tests/unit/test_vmi.py",
)
PODS = (
    "tests/netns/test_snapshots.py",
    "tests/netns/test_earlier_records.py",
    "tests/netns/test_fwd.py",
    "tests/netns/test_mac.py",
    "tests/netns/test_teardown.py",
    "tests/netns/test_isolation.py",
    "tests/netns/test_masquerade.py",
)
"""In network namespaces: asked when nothing else has noticed."""

UNIT, CONFORMANCE, NETNS = "tests/unit/test_{}.py", "tests/conformance/test_{}.py", "tests/netns/test_{}.py"
TESTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    r"dhcp/(wire|v6|config6|.*6\.py)": ((*DHCP_VALUES, *DHCP6, *DHCP4, *DHCP_IO), ()),
    r"dhcp/io": ((*DHCP_IO, *DHCP_VALUES, *DHCP4, *DHCP6), ()),
    r"dhcp/": ((*DHCP_VALUES, *DHCP4, *DHCP6, *DHCP_IO), ()),
    r"netsetup/": (PLAN, PODS),
}
"""The tests of the first pattern that fits: the fast ones, and those in namespaces."""

FIRST: dict[str, tuple[str, ...]] = {
    r"dhcp/config_options": (UNIT.format("dhcp_option_kinds"),),
    r"dhcp/config|dhcp/json": (UNIT.format("dhcp_limits"), UNIT.format("dhcp_config")),
    r"dhcp/lifetimes|dhcp/token|dhcp/v6/ra_timers|dhcp/io/flood": (UNIT.format("dhcp_times"),),
    r"dhcp/io": (UNIT.format("dhcp_filter_octets"), UNIT.format("dhcp_filter6")),
    r"dhcp/wire/(addresses|arp|ip|ndp)": (UNIT.format("dhcp_headers"),),
    r"dhcp/wire/|dhcp/v4/(fqdn|layout)": (UNIT.format("dhcp_messages"),),
    r"dhcp/v6/": (UNIT.format("dhcp_served6"),),
    r"dhcp/": (UNIT.format("dhcp_served"),),
    r"netsetup/model/(mac|owner|request|private)": (UNIT.format("vmi"),),
    r"netsetup/migration": (UNIT.format("migrated_records"), NETNS.format("earlier_records")),
    r"netsetup/resolver": (UNIT.format("resolver"),),
    r"netsetup/nft/isolation": (NETNS.format("isolation"),),
    r"netsetup/nft/forwarding|netsetup/bindings/fwd": (NETNS.format("fwd"),),
    r"netsetup/nft/nat|netsetup/bindings/masq": (NETNS.format("masquerade"),),
}
"""Which of them come first, because they are likeliest to notice."""

IMPURE = ("netsetup/migration.py", "netsetup/resolver.py")
"""Mutated too: without I/O but for one function, or loads what has."""


def modules(root: Path) -> Iterator[str]:
    """The paths of the modules that call themselves pure."""
    for path in sorted([*root.glob("dhcp/**/*.py"), *root.glob("netsetup/**/*.py")]):
        name = str(path.relative_to(root))
        docstring = path.read_text().partition('"""')[2].partition('"""')[0]
        if "Pure." in docstring or name in IMPURE:
            yield name


def tests_of(path: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The fast tests of a module, and those in namespaces."""
    first = next((tests for pattern, tests in FIRST.items() if re.match(pattern, path)), ())
    fast, slow = next(tests for pattern, tests in TESTS.items() if re.match(pattern, path))
    return _led_by(first, fast), _led_by(first, slow)


def _led_by(first: tuple[str, ...], tests: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(tests, key=lambda test: test not in first))
