"""Whisper speech recognition in Python, NumPy and Numba."""
