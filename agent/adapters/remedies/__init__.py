"""Acts on running systems."""
