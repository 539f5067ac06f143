"""The virtual machine's hardware besides disks and networks: firmware, features, input, sound, TPM and the like."""
