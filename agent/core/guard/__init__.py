"""What must never happen: facts, rules, the floor, and the check of a whole rule table."""
