"""Bind plans to kernels and run them.

In: plans, weights. Out: programs that run. Knows nothing of: models, what a graph computes.
"""
