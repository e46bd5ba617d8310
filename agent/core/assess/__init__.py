"""What is the case: alive or not, proven or not, why it failed, how many lanes are earned."""
