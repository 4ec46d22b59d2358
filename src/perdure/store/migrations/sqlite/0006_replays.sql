-- How a replay was asked for, and what it took over whole, as JSON; NULL for every other execution.

ALTER TABLE payloads ADD COLUMN replay TEXT;
