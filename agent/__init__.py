"""DECIDES: reads manifests, plans, and has the runtime carry the plan out."""
