"""Approval requests: what a person is asked, and whether an answer is still valid."""
