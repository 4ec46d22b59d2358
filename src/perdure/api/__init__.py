"""The native API: one route table as data, and the machinery that serves it."""
