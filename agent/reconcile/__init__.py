"""The heart: desired and actual in, a plan out, and a loop that applies it."""
