"""The agent's HTTP face on its UNIX socket."""
