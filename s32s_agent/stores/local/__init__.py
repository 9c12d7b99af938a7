"""A local directory as source and as target."""
