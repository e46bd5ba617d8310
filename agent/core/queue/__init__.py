"""The rules of our own queues: states, attempts, leases."""
