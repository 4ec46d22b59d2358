"""The route table's handlers, one file per resource."""
