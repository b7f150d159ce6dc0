"""GPT-2 to read, step through, trust and run: plain NumPy, checked against someone else's GPT-2."""

__version__ = "0.1.0"
