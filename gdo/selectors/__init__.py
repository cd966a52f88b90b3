"""Selectors: from a described pool and a goal preset to a subset and its uniform control."""
