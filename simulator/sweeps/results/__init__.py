"""Results: what a sweep found, as tables, answers and notes."""
