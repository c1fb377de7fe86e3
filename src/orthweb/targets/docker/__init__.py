"""The Docker target."""
