"""Records of earlier versions, as migrated: what each network has, a line each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dhcp.lean.json import dumps, loads
from netsetup.migration import migrate
from netsetup.model.decode import decode
from netsetup.model.vm_network import VMNetwork
from netsetup.record import VERSION, Record

RECORDS = Path(__file__).parent.parent / "records"

POD = "10.244.1.5/24 fd00:10:244:1::5/64"
OWN = "10.0.2.2/24 fd10:0:2::2/120"
NIC = "0a:58:0a:f4:01:05"
MIGRATED = {
    "1-0bd4795-bridge": f"bridge {NIC} pod {POD} isolated",
    "1-1b09ca8-bridge": f"bridge {NIC} pod {POD}",
    "1-502a40c-bridge": f"bridge {NIC} pod {POD}",
    "1-502a40c-bridge-mac": f"bridge 02:11:22:33:44:55 spec {POD}",
    "1-76159e0-bridge": f"bridge {NIC} pod {POD}",
    "1-a6f8575-bridge": f"bridge {NIC} pod {POD}",
    "2-bac6f5a-bridge": f"bridge {NIC} pod {POD} isolated named vm gateway 0a:58:0a:f4:01:01",
    "2-bac6f5a-masquerade": f"masquerade 0e:ce:63:dc:3e:09 pod {OWN} isolated named vm1 tcp 80",
    "2-eb93270-bridge": f"bridge {NIC} pod {POD} isolated",
    "2-eb93270-masquerade": f"masquerade 0e:ce:63:dc:3e:09 pod {OWN} isolated tcp 80",
    "2-ee67254-bridge": f"bridge {NIC} pod {POD} isolated gateway 0a:58:0a:f4:01:01",
    "2-ee67254-masquerade": f"masquerade 0e:ce:63:dc:3e:09 pod {OWN} isolated tcp 80",
    "2-fb97027-bridge": f"bridge {NIC} pod {POD} isolated",
}


def of_earlier_versions() -> list[str]:
    return [path.stem for path in sorted(RECORDS.glob("*.json")) if json.loads(path.read_text())["version"] < VERSION]


def test_every_record_is_here() -> None:
    assert sorted(MIGRATED) == sorted(of_earlier_versions())


@pytest.mark.parametrize("name", MIGRATED)
def test_migrated(name: str) -> None:
    old = json.loads((RECORDS / f"{name}.json").read_text())
    record = decode(Record, loads(dumps(migrate(old))))
    assert {key: in_words(network) for key, network in record.networks.items()} == {"default": MIGRATED[name]}
    assert (record.version, record.boot_id, record.namespace_cookie) == (3, old["boot_id"], old["namespace_cookie"])
    (before,), (network,) = old["networks"], record.networks.values()
    assert [network.mtu, network.guest_port, network.bridge] == [before["mtu"], before["guest_port"], before["bridge"]]
    assert network.queues == before.get("queues", 1)
    assert (network.owner, network.adopted, network.adopted_sysctls) == (None, None, ())
    assert network.pod.link.name == before["pod"]["link"]["name"]


def in_words(network: VMNetwork) -> str:
    guest, words = network.guest, [network.binding, network.guest.mac, network.guest.mac_source]
    words += [address.cidr for address in (guest.address4, guest.address6) if address]
    words += ["isolated"] if network.isolated else []
    words += ["named", network.options.hostname] if network.options.hostname else []
    words += ["gateway", network.gateway6_mac] if network.gateway6_mac else []
    words += [f"{ports.protocol} {ports.text}" for ports in network.private.ports] if network.private else []
    return " ".join(words)
