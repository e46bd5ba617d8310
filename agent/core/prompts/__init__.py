"""Whether a prompt is self-contained."""
