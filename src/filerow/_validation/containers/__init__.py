"""Formats that contain others; what is in them decides their type."""
