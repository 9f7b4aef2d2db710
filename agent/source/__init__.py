"""Where manifests come from: a directory or a git repository. Yields revisions, never parses."""
