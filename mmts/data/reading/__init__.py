"""Reading any table that a user has: files to checked columns."""
