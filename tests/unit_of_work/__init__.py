"""What the table of cases cannot say: kinds of sessions, threads, tasks, cancellation, two phases, outer transactions, requests."""
