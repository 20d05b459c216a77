"""The recipes that ship with potstill, and the prompts that they read."""
