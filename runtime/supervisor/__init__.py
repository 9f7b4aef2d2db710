"""The small long-lived parent of all containers. Standard library only."""
