"""`serve --keep-admin`: what changes in a pod that is set up, taken in as the next `prestart` would."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dhcp.lean.frozen import replace
from launcher.container.pod_setup import PodSetup, Settings
from launcher.following.follower import Follower
from launcher.request import SetupRequest
from netsetup.errors import MissingFeature
from netsetup.record import read_record

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("launcher")


class News:
    """Has pod and record follow what the CNI changes; the server follows the record."""

    def __init__(
        self,
        folder: str,
        vmi: str | None,
        name: str | None,
        resolver_path: str,
        *,
        network_status: str | None = None,
        host_network: bool,
    ) -> None:
        """`vmi` is the manifest that the pod was set up for, if it was, `name` which VM of it, and `network_status`
        what names its interfaces (`launcher.vmi.network_status`)."""
        self._folder, self._vmi, self._name = folder, vmi, name
        settings = Settings(folder, resolver_path, None, "text", host_network, network_status, phase="network")
        self._pod = PodSetup(SetupRequest.default(), settings, is_set_up=True)
        self._is_read = False

    def follow(self, then: Callable[[], object]) -> Follower:
        """Take in what changes from now on, and call `then` each time."""

        def take_in() -> None:
            self._pod.converge()
            then()

        follower = Follower(self._folder, self._pod.files, look=self._pending, take_in=take_in)
        follower.start()
        return follower

    def take_in(self) -> None:
        """Take in what has changed until now, also in the manifest.

        Raises what `setup_pod_network` does, MissingFeature when nothing is set up, and ManifestError.
        """
        pod = self._pod.converge(self._read)
        log.info("what has changed in the pod is taken in: %s", "; ".join(pod.plan) or "nothing")

    def _pending(self, waits: bool) -> tuple[str, ...]:
        if not self._is_read:
            self._pod.request = self._read(self._pod.request)
        return self._pod.pending(waits)

    def _read(self, _: SetupRequest) -> SetupRequest:
        """The request as the manifest has it now, or the defaults, with what the pod was set up with besides."""
        request = SetupRequest.default()
        if self._vmi:
            from launcher.vmi.load import load_request

            request = load_request(self._vmi, self._name)
        record = read_record(self._folder)
        if record is None:
            raise MissingFeature(f"{self._folder}: nothing is set up in this network namespace")
        networks = record.networks.values()
        self._is_read = True
        return replace(
            request,
            isolated=all(network.isolated for network in networks),
            reaches_pod=any(getattr(network.private, "reaches_pod", False) for network in networks),
        )
