"""The pytest plugin: pods of a CNI's shape and DHCP clients as fixtures.

pytest loads it wherever this package is installed, so it imports what a fixture needs when that is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from launcher.testing.clients import Observed
    from launcher.testing.namespace import Namespace
    from launcher.testing.pod import MakePod, Pod

MARKER = "pod_shape(name, **options): the shape of the fixture `pod`, and further arguments of launcher.testing.pod.Pod"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)


@pytest.fixture
def make_pod() -> Iterator[MakePod]:
    """A function with the arguments of `launcher.testing.pod.Pod`; what it made is removed after the test."""
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")
    from launcher.testing.pod import Pod

    with ExitStack() as stack:

        def make(*arguments: object, **options: object) -> Pod:
            return stack.enter_context(Pod(*arguments, **options))  # type: ignore[arg-type]

        yield make


@pytest.fixture
def pod(request: pytest.FixtureRequest, make_pod: MakePod) -> Pod:
    """A node, a pod with a guest at `tap0`, and another pod of the node, each a namespace.

    The shape is flannel's, or what the marker `pod_shape` or an indirect parameter says.
    """
    shape = getattr(request, "param", None)
    marker = request.node.get_closest_marker("pod_shape")
    if shape is not None:
        return make_pod(shape, **(marker.kwargs if marker else {}))
    return make_pod(*marker.args, **marker.kwargs) if marker else make_pod()


@pytest.fixture
def guest_lease(request: pytest.FixtureRequest) -> Iterator[Callable[..., Observed]]:
    """A function that runs a DHCP client in the guest until it has a lease: `guest_lease(client="udhcpc", guest=None)`.

    It returns what the client made of the lease, as the kernel and the client's files show it
    (`launcher.testing.clients.Observed`), and raises AssertionError, with the client's log, when there is none in time.
    `client` is udhcpc, dhclient, dhcpcd, systemd-networkd or NetworkManager; `guest` the guest of another pod than the
    fixture's.
    """
    from launcher.testing.clients import CLIENTS

    with ExitStack() as stack:

        def lease(client: str = "udhcpc", *, guest: Namespace | None = None, timeout: float | None = None) -> Observed:
            kinds = {kind.name: kind for kind in CLIENTS}
            if client not in kinds:
                raise ValueError(f"client {client}: must be one of {', '.join(kinds)}")
            where = guest or request.getfixturevalue("pod").guest
            return stack.enter_context(kinds[client](where)).acquire(timeout)

        if "pod" in request.fixturenames:
            request.getfixturevalue("pod")  # so that it is removed after the clients
        yield lease


@pytest.fixture
def entered() -> Callable[[Namespace | str | Path], AbstractContextManager[None]]:
    """`with entered(namespace):` moves the calling thread into a `Namespace`, or one by its name or path."""
    from launcher.testing.namespace import entered

    return entered
