"""How a pod interface is handed to the VM: one module for each binding. Pure."""
