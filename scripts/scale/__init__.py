"""What many workers ask of one PostgreSQL: measured on a real one, derived from the SQL, and simulated."""
