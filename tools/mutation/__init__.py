"""Mutation testing: small faults put into a copy of the core, one at a time; some test must notice each of them."""
