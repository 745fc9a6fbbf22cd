"""Tools for those who work on Filerow; none of them is part of the package."""
