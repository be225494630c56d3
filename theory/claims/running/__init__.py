"""Running: claims in processes, their results in a folder, and the document that the pages are made from."""
