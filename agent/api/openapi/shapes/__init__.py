"""What the answers and bodies of Setpoint's own API look like, by noun: types, no code."""
