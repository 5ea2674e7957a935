"""Files: netsvc's doors beside what people use for the same."""
