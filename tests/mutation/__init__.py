"""Mutation testing: small faults are planted one by one, and some test must fail for each."""
