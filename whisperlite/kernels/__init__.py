"""Numba kernels; ``kernels.reference`` says in NumPy what each one means.

In: addresses, sizes, strides. Out: arrays written in place.
Knows nothing of: graphs, plans, models.
"""
