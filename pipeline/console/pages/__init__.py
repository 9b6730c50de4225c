"""The pages, a file for each: what is asked of it, what is looked up, what is shown."""
