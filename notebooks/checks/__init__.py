"""What the exercises of the notebooks call: each check says "right", or what was expected and got for which input."""
