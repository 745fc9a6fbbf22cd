"""Tests of `filerow.http`: files over HTTP, without a framework."""
