"""What the studio keeps: a narrow port, and SQLite behind it."""
