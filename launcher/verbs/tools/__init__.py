"""Verbs that no VM needs: what is measured and captured, and how a shell completes words."""
