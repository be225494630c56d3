"""How figures become files: their layout, computed once, and the fonts of PDF files."""
