"""What is behind a VM's disks: images that are found, and those that are made for one run."""
