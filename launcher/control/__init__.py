"""Requests to a launcher that runs, by a unix socket in its state directory."""
