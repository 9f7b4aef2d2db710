"""Which registries there are for this instance, and who we are to them."""
