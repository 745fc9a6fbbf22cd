"""The tests of Filerow; a package so that the demo and the benchmarks can import ``tests.servers``."""
