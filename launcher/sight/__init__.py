"""Looking at a pod that is set up: status, metrics, capture; none of it changes anything."""
