"""The pre-start hook, and the same set-up as a shell script."""
