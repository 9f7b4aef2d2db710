"""Image references, content by digest, layers and root file systems."""
