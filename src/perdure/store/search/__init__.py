"""The index behind substring search: which trigrams stand in which groups of executions. It can always be made anew."""
