"""Coding agents as processes."""
