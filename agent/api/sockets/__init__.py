"""Scoped sockets: ways in that are fenced. What may be asked for at one is a value (`scope`), checked at one
place (`gate`) against one table (`agent.policy.permissions`); manifests declare them (`kind: Socket`), and
the loop opens and closes them (`listeners`)."""
