"""The VM: its libvirt domain, console, disk images and accelerator."""
