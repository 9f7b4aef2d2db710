"""The OpenAPI document of Setpoint's own API: made from the one table of its routes."""
