"""Fixtures that run every case of the RFC checklist twice: against `handle` as a function, and over a veth."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from exchange import Exchange, Function, Wire
from exchange6 import Exchange6
from lab.namespace import Namespace
from link import Link


@pytest.fixture(scope="session")
def wire() -> Iterator[Wire]:
    with Namespace("pod") as pod, Namespace("guest") as guest:
        wire = Wire(pod, guest)
        yield wire
        wire.close()


@pytest.fixture(params=["function", pytest.param("wire", marks=pytest.mark.root)])
def server(request: pytest.FixtureRequest) -> Exchange:
    """The server as a function and as a process, with the configuration CONFIG."""
    if request.param == "function":
        return Exchange(Function())
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")
    wire: Wire = request.getfixturevalue("wire")
    wire.serve()
    return Exchange(wire)


@pytest.fixture
def server6(server: Exchange) -> Exchange6:
    """The same, serving IPv6 too, with CONFIG6."""
    exchange = Exchange6(server)
    exchange.serve()
    return exchange


@pytest.fixture
def link() -> Iterator[Link]:
    with Namespace("pod") as pod, Namespace("guest") as guest:
        link = Link(pod, guest)
        yield link
        link.socket.close()
