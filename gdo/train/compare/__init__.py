"""Holding evaluated runs against each other."""
