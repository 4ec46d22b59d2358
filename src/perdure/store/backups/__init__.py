"""A store as it was at one moment, in a folder that any store can be made from."""
