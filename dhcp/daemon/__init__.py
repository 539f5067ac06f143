"""The server as a process of its own, and its control protocol."""
