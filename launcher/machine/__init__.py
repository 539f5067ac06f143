"""The VM as libvirt runs it: domain XML, driver, serial console, disk images, accelerator."""
