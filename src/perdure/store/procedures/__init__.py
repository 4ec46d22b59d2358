"""All transactional logic, once for both databases: generators that do no I/O of their own."""
