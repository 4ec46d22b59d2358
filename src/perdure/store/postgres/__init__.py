"""The store in a PostgreSQL database (14 to 18), by asyncpg; any number of processes share it."""
