"""Checkpoints of running containers: their processes as files, by CRIU, and containers that start from them.

freeze ─> what lies outside (mounts, pipes, network) ─> criu dump ─> shelf        create, by `checkpoints`
shelf ─> is it this container's, and ours ─> note in the bundle ─> criu restore     a start, by `life`
"""
