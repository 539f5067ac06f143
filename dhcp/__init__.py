"""The single-client DHCP server. Standard library only; it imports nothing of its neighbours."""

MODULES_FILE = -1
"""Descriptor of the file in which a bundle has what is imported later, see `dhcp.unbundle`; -1 without a bundle."""
