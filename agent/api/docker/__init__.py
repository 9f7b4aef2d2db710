"""The Docker Engine API on the agent's socket: a second source of desired state and a window, never a
second engine.

    a call that changes ─> body -> spec (pure) ─> a desired row, owner "api" ─> the loop ─> its condition
    a call that shows   ─> records and states -> Docker's shape (pure)
    streams, one-shots  ─> the engine

One file a noun, one route table (`routes`), one place where errors become answers (`agent.api.errors`).
The definition is Docker's, version 1.52.
"""
