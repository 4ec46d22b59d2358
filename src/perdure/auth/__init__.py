"""Who may do what: tokens, roles, and the authority that tells callers apart."""
