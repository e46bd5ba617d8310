"""The nouns: what a wave, a task, an action and a policy are. Nothing is decided here."""
