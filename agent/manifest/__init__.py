"""From the files of a revision to desired objects, or to errors with file, line and column. Pure."""
