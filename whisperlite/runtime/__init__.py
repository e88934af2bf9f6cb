"""Bind plans to kernels and run them."""
