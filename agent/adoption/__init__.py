"""What was made through the Docker API, as a manifest that describes it exactly."""
