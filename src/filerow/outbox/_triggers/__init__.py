"""The triggers that write tombstones: what they must do, in each database's SQL, and how they are installed."""
