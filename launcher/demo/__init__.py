"""`virt-launcher demo`: a pod, a node and a real VM on this host, shown step by step."""
