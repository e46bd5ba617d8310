"""Configuration, wave and policy files."""
