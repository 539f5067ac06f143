"""What has changed in a pod since it was set up, taken in as the next `prestart` would."""

from __future__ import annotations

import logging

from dhcp.lean.frozen import replace
from launcher.prestart import setup_pod_network
from launcher.request import SetupRequest
from netsetup.errors import MissingFeature
from netsetup.record import read_record

log = logging.getLogger("launcher")


def take_news_in(
    folder: str,
    vmi: str | None,
    name: str | None,
    resolver_path: str,
    *,
    network_status: str | None = None,
    host_network: bool,
) -> None:
    """Have pod and record follow what the CNI has changed; the server follows the record.

    `vmi` is the manifest that the pod was set up for, if it was, `name` which VM of it, and `network_status` what names
    its interfaces (`launcher.vmi.network_status`). Raises what `setup_pod_network` does, MissingFeature when nothing is
    set up, and ManifestError.
    """
    request = SetupRequest.default()
    if vmi:
        from launcher.vmi.load import load_request

        request = load_request(vmi, name)
    if network_status:
        from launcher.vmi.network_status import with_network_status

        request = with_network_status(request, network_status)
    record = read_record(folder)
    if record is None:
        raise MissingFeature(f"{folder}: nothing is set up in this network namespace")
    networks = record.networks.values()
    request = replace(
        request,
        isolated=all(network.isolated for network in networks),
        reaches_pod=any(getattr(network.private, "reaches_pod", False) for network in networks),
    )
    pod = setup_pod_network(
        request, state_dir=folder, resolver_path=resolver_path, host_network=host_network, phase="network"
    )
    log.info("what has changed in the pod is taken in: %s", "; ".join(pod.plan) or "nothing")
