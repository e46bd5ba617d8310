"""Queues of our own."""
