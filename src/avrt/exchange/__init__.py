"""Datasets in and out: published sets are imported, other tools read exports."""
