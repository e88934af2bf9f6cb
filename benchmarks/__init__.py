"""Benchmarks: how fast, where the time goes, and beside whom."""
