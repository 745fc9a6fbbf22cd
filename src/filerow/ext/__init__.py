"""Integrations: one module per framework, each a thin shell over ``filerow.http``. A module needs its framework installed."""
