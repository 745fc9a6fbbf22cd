"""The places bytes can go: the contract in ``base``, and one module per kind of store."""
