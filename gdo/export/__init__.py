"""Export: a subset written as the files that trainers read."""
