"""Links, addresses, firewall and names of an instance's networks."""
