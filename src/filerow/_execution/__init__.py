"""Sync and async in one place: steps that run either way, threads, batches."""
