"""Reviewer and drafter."""
