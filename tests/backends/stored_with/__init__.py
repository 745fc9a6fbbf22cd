"""What objects are stored with: read back from each store by a client of its own, whichever way the bytes took."""
