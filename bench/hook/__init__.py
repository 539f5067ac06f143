"""The pre-start hook, next to the same set-up as a shell script."""
