"""What is trained: what a user asks for, and what recipe, task and data set choose beside it."""
