"""REMEMBERS: desired rows, status, events and revisions in SQLite. Memory, never truth."""
