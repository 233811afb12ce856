"""What a serving process has to do with the machine: its copies, threads, memory limit, and last words."""
