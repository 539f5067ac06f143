"""What a network namespace, a pod interface and a VM's network are: frozen data."""
