"""What manifests may ask for on this host: a policy that stands outside of them."""
