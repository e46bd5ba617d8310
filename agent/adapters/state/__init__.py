"""The supervisor's own state."""
