"""What the agent keeps in `state_dir`."""
