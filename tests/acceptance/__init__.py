"""The running stack, as its users see it; one stack for all of this folder, gone at its end."""
