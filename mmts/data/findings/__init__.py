"""What the data hold, and what is unusual about them."""
