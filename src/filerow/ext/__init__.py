"""Integrations: one module per framework, each a thin shell over our core.

A module needs its framework installed; those for web frameworks rest on ``filerow.http``.
"""
