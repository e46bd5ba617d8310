"""What adapters share: SQLite files, HTTP, processes, locks, the clock."""
