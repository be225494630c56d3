"""Verifying: every theorem proved and tried on fresh problems, false claims refuted."""
