"""Which images are kept, for whom and how long; what is newer; what is damaged."""
