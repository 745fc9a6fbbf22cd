"""The one home of sync and async: steps that run either way, threads, and batches of jobs."""
