"""The container's entrypoint: PID 1, `virt-launcher run`, the DHCP server's watchdog."""
