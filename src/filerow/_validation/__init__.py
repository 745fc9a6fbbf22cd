"""What a column demands of its files, and what a file is found to be."""
