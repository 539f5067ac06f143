"""The pods of `launcher.testing`."""

from launcher.testing.pod import DNS, GUEST_NIC, GUEST_PORT, RESOLV_CONF, SEARCH, MakePod, Pod, plug_guest

__all__ = ["DNS", "GUEST_NIC", "GUEST_PORT", "RESOLV_CONF", "SEARCH", "MakePod", "Pod", "plug_guest"]
