"""The server as a process of its own, and how it is controlled."""
