"""Statements about means on streams of samples, held against very many runs."""
