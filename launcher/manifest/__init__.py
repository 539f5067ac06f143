"""Manifest files: their text, the objects in it, and what each field of KubeVirt's becomes of here."""
