"""Several models in one process: a folder whose manifest names them, each with a queue and a thread of its own."""
