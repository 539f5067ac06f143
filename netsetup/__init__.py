"""Discovery of a pod's network, the plan that hands it to a VM, and the exact way back."""
