"""What another engine runs, as manifests."""
