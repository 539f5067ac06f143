"""The wire formats: bytes to data and back. Pure."""
