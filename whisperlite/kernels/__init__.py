"""Numba kernels; ``kernels.reference`` says in NumPy what each one means."""
