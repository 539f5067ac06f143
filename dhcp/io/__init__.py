"""The server's loop, its sockets and its log."""
