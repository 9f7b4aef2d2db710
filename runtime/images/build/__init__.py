"""Builds of images: carries out the plan of a Dockerfile, in a process of its own.

order ─> worker: context ─ plan ─ stages side by side ─ cache ─ layers ─ image
            │ asks                                                   ^
            └─> the engine's process: base images, RUN steps ────────┘
"""
