"""What the table of cases cannot say: kinds of sessions, threads, cancellation, two phases, outer transactions, requests."""
