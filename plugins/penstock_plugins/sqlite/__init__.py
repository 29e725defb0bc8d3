"""What the stores in SQLite files have in common."""
