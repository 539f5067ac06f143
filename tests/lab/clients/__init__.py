"""Real DHCP clients, run in a guest's namespace as inside a VM: one class each, all with the same methods."""

from lab.clients.base import Client, Observed
from lab.clients.dhclient import Dhclient
from lab.clients.dhcpcd import Dhcpcd
from lab.clients.networkd import Networkd
from lab.clients.networkmanager import NetworkManager
from lab.clients.udhcpc import Udhcpc

CLIENTS: tuple[type[Client], ...] = (Udhcpc, Dhclient, Dhcpcd, Networkd, NetworkManager)

__all__ = ["CLIENTS", "Client", "Dhclient", "Dhcpcd", "NetworkManager", "Networkd", "Observed", "Udhcpc"]
