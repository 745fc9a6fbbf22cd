"""Formats that hold others, looked into within bounds: what is in them decides what they are."""
