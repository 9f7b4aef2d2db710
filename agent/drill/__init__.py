"""`setpoint drill`: breaks what Setpoint keeps, on an instance of its own, and times the repairs."""
