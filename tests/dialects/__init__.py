"""One table of cases, run on every database and driver there is."""
