"""Specs as manifests that people would write: the reader's inverse. Pure."""
