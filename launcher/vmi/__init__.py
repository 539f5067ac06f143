"""VirtualMachineInstance manifests: schema, admission rules, and the checked VM as data."""
