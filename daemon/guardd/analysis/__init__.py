"""Analysis: facts of one content. Pure, but for the worker processes that parse."""
