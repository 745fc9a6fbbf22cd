"""Places for bytes: the contract is in ``base``, each kind of store in a module."""
