"""`make planted-bugs`: known bugs, planted one by one, that the judge of a chaos run must find."""
