"""Configurations: everything that determines a sweep."""
