"""Arrays and streams that are kept on disk."""
