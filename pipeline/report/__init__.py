"""The report of an output: one page of HTML, made of a bounded sample of it."""
