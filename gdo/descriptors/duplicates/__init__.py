"""Near-duplicates: which media show the same, and which samples ask the same of them."""
