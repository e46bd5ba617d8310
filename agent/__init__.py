"""Wavekeeper: supervises a wave of coding-agent tasks. See `core/__init__.py` for the tour."""

__version__ = "0.1.0"
