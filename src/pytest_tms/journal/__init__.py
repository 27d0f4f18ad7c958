"""What a run must deliver, on disk: the lines of a journal and the file that holds them."""
