"""Dockerfiles: text to a plan of a build. Pure; knows errors and image references, and nothing else.

    text ─ stages.read_dockerfile ─> Dockerfile ─ plan.make_plan ─> BuildPlan ─> runtime.images.build

Runs nothing, opens nothing, asks nobody. Every byte that comes in here is hostile.
"""
