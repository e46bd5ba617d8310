"""Sources of observed evidence."""
