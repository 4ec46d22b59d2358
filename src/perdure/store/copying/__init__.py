"""A whole store brought to another place, row by row, and compared there before it counts."""
