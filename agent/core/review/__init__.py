"""What a reviewer is shown, and what of its answer counts."""
