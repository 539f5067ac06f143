"""`dnsPolicy` and `dnsConfig` of a manifest, by Kubernetes' rules for those of a pod."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dhcp.lean.text import fault_of_name
from launcher.vmi.checks import choose
from launcher.vmi.errors import ManifestError
from netsetup.model.pod_interface import MOST_NAMESERVERS, MOST_SEARCHES, DNSRequest
from netsetup.resolver import canonical_nameserver

if TYPE_CHECKING:
    from launcher.manifest import schema as source

POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
SEARCH_CHARACTERS = 2048
"""Of all searches together, as the API server has it."""


def admit_dns(policy: str | None, config: source.DNSConfig | None) -> DNSRequest | None:
    """What the two change of the pod's resolver configuration, if anything. Raises ManifestError.

    Of the policies the pod's resolv.conf is the result, cluster's or node's, whoever wrote it: but for `None`, which
    leaves nothing but `dnsConfig`.
    """
    replaces = choose("spec.dnsPolicy", policy or POLICIES[0], POLICIES) == "None"
    path = "spec.dnsConfig"
    servers = (config and config.nameservers) or []
    searches = (config and config.searches) or []
    if replaces and not servers:
        raise ManifestError(f"{path}.nameservers", "must not be empty with the dnsPolicy None")
    if config is None:
        return None
    if len(servers) > MOST_NAMESERVERS:
        raise ManifestError(f"{path}.nameservers", f"must be at most {MOST_NAMESERVERS}, are {len(servers)}")
    for index, server in enumerate(servers):
        _, fault = canonical_nameserver(server)
        if fault:
            raise ManifestError(f"{path}.nameservers[{index}]", f"{fault}, is `{server}`")
    if len(searches) > MOST_SEARCHES:
        raise ManifestError(f"{path}.searches", f"must be at most {MOST_SEARCHES}, are {len(searches)}")
    if len(" ".join(searches)) > SEARCH_CHARACTERS:
        raise ManifestError(f"{path}.searches", f"must be at most {SEARCH_CHARACTERS} characters")
    for index, search in enumerate(searches):
        name = search.removesuffix(".")  # a lone dot is the root, which adds nothing to a name
        if name and (fault := fault_of_name(name)):
            raise ManifestError(f"{path}.searches[{index}]", f"is no domain name: {fault}, is `{search}`")
    options = []
    for index, option in enumerate(config.options or []):
        if not option.name:
            raise ManifestError(f"{path}.options[{index}].name", "must not be empty")
        options.append(f"{option.name}:{option.value}" if option.value else option.name)
    return DNSRequest(replaces, tuple(servers), tuple(searches), tuple(options))
