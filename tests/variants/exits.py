"""A module that ends whoever imports it, like a script without a guard."""

raise SystemExit(3)
