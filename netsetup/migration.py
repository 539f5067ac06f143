"""Records of earlier versions in the present form. tests/records has one of each form."""

import dataclasses
from typing import Any

from netsetup.bindings import keeper, masquerade
from netsetup.model.decode import decode
from netsetup.model.pod_interface import PodInterface
from netsetup.model.private_network import PrivateNetwork


def migrate(content: dict[str, Any]) -> dict[str, Any]:
    """A record of version 1 or 2, as decoded from JSON, in the form of version 3.

    Raises LookupError, TypeError or ValueError for what is no record.
    """
    networks = [_network(_with_all_fields(network, content["version"])) for network in content["networks"]]
    return {**content, "version": 3, "networks": {network["name"]: network for network in networks}}


def _with_all_fields(network: dict[str, Any], version: int) -> dict[str, Any]:
    """A network as the last program of version 2 wrote it: fields that came later have the value they had before.

    Version 1 had no isolation at first, and did not record where a MAC came from.
    """
    pod = network["pod"]
    return {
        "queues": 1,
        "isolated": version > 1,
        "mac_source": "pod" if network["mac"] == pod["link"]["mac"] else "spec",
        "masquerade": None,
        "told": {},
        "router6_mac": "",
        **network,
    }


def _network(old: dict[str, Any]) -> dict[str, Any]:
    """Version 2 had the guest's MAC in the network itself, and its addresses not at all."""
    pod = decode(PodInterface, old["pod"])
    behind = old["masquerade"]
    private = None if behind is None else decode(PrivateNetwork, behind)
    mac, source = old["mac"], old["mac_source"]
    guest = masquerade.guest_of(pod, private, mac, source) if private else keeper.guest_of(pod, mac, source)
    kept = ("name", "pod", "guest_port", "bridge", "mtu", "queues", "isolated", "adopted", "adopted_sysctls")
    return {
        **{key: old[key] for key in kept},
        "binding": "masquerade" if private else "bridge",
        "guest": dataclasses.asdict(guest),
        "private": old["masquerade"],
        "options": old["told"],
        "gateway6_mac": old["router6_mac"],
    }
