"""What adapters share: how a program is run, and how git is."""
