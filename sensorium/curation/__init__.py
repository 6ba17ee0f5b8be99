"""Curation: steps that score, filter, deduplicate and select data."""
