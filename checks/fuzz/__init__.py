"""Malformed HDF5 files, and what setup.py makes of them: `python -m checks.fuzz`."""
