"""virt-launcher: the pre-start hook, the container entrypoint and the libvirt domain of one VM."""
