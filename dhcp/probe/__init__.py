"""Requests leases from a DHCP server as a client would; the only room that has scapy."""
