"""Text: the tables and words that commands print."""
