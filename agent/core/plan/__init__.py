"""What to do next: one proposal per task, put to the guard."""
