"""Worktrees, checkouts and reference documents in git."""
