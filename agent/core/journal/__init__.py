"""What the record says, and how a decision is decided again from it."""
