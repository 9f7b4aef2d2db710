"""Files of a container, in and out, through its own mounts: see `worker`."""
