"""Asking a person in the terminal."""
