"""The container's entrypoint: PID 1, the launcher, the watchdog of the DHCP server."""
