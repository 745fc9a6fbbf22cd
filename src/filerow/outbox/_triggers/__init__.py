"""The triggers that write tombstones, in each database's SQL."""
