"""Registries: OCI distribution and Docker registry v2, as a client."""
