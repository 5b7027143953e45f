"""Commands whose system calls fail: which call, the folder that a command starts from, and the verdict on its end."""
