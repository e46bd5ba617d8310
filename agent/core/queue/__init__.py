"""The rules every queue of ours keeps: states, attempts, leases."""
