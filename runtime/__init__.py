"""DOES: namespaces, mounts, cgroups, networks and images. Usable without the agent and the store."""
