"""A first program to step through: `python docs/step.py`, then what stepping.md types."""

from nanogpt_np import GPT

gpt = GPT.from_pretrained("stories", ops="numpy")  # with NumPy's ops every token comes through model.forward
breakpoint()
text = gpt.generate("Once upon a time", 1, temperature=0.8, seed=7)
