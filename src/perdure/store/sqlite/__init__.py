"""The store in one SQLite file, by apsw (which carries a fixed, current SQLite)."""
