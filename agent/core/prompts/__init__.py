"""Does a prompt stand on its own."""
