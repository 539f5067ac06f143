"""A pod, a node and a real VM on this machine, shown step by step."""
