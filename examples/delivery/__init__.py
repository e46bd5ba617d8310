"""A delivery to play on loopback, `python -m examples.delivery`: each program is a module."""
