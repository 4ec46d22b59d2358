"""Reads, once for both databases: each class takes the driver's way to run a procedure."""
