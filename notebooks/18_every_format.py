# %% [markdown]
# # 18 · How can five files be one model?
#
# **You will be able to** open a GPT-2 in any of the five forms in which it is handed round, say where each of them keeps a given number, see from shapes alone which way a
# matrix lies, name what no file says, and predict how far an 8-bit file can be off.
#
# **You need** notebook [00](00_map.ipynb) (the map); [11](11_eight_bits.ipynb) for why anyone wants fewer bits. The library `gguf` writes one of the five: `pip install gguf`.
#
# A GPT-2 is a few million numbers. They have been written down by OpenAI's TensorFlow, by `transformers`, by nanoGPT, by llm.c and by llama.cpp, each in its own way. Before you
# read on, guess: how many of these five hold the numbers of a linear layer in the same order?

# %%
import json
import struct
import tempfile
from pathlib import Path

import numpy as np
from checks import ch18
from safetensors.numpy import save_file

from nanogpt_np import GPT, lens
from nanogpt_np import params as P
from nanogpt_np.lens import style
from nanogpt_np.storage import crc32c, gguf, gguf_header, header, llmc, tensorflow

gpt = GPT.from_pretrained("stories", ops="numpy")
config, named = gpt.config, dict(P.walk(gpt.params))
kept = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # 140 MB, gone when this kernel ends
folder = Path(kept.name)
print(f"{len(named)} arrays, {sum(array.size for array in named.values()):,} numbers")

# %% [markdown]
# ## Six numbers by hand
#
# A file is one row of bytes, a matrix has two axes. So somebody decides which axis comes first. Take a layer with 2 inputs and 3 outputs, and count the bytes up to one weight:

# %%
w = np.array([[0, 1, 2], [10, 11, 12]], np.float32)  # [n_in, n_out]: from input i to output j is 10 i + j
by_input = w.tobytes()  # as OpenAI stored it: all weights of input 0, then of input 1
by_output = w.T.tobytes()  # as PyTorch's nn.Linear stores it: [n_out, n_in]
i, j = 1, 0
print("by input ", np.frombuffer(by_input, np.float32), "-> byte", 4 * (i * 3 + j))
print("by output", np.frombuffer(by_output, np.float32), "-> byte", 4 * (j * 2 + i))
assert struct.unpack_from("<f", by_input, 4 * (i * 3 + j)) == struct.unpack_from("<f", by_output, 4 * (j * 2 + i)) == (10,)

# %% [markdown]
# The same six numbers, in another order. Whoever reads `[3, 2]` where `[2, 3]` is meant gets an error, if he is lucky: a shape does not fit. `attn.c_proj` of every block is a *square*
# matrix. Read it the wrong way round, and nothing complains. What does *stories* say then?

# %%
text = "Once upon a time, there was a little girl who had a red ball. One day she lost the ball in the park. She was very sad. Her dog ran to the tree and found it."
ids = gpt.tokenizer.encode(text)


def loss(gpt):  # nats per token of the text
    return float(np.nanmean(lens.tokens_view(gpt, ids).losses))


wrong = P.nest({name: array.T if name.endswith("attn.c_proj.weight") else array for name, array in named.items()})
turned = GPT(config, wrong, gpt.tokenizer)
for name, one in (("as it is", gpt), ("turned", turned)):
    print(f"{name:9}{loss(one):.2f} nats per token: Once upon a time{one.generate('Once upon a time', 16, temperature=0)}")
assert loss(turned) > loss(gpt) + 1.5

# %% [markdown]
# It opens, it runs, and it looks like a badly trained model. That is why a converter is not done when its file opens: it is done when one logit agrees.
#
# ## The five
#
# Three of them the library writes. `transformers`: a folder with the weights in `model.safetensors`, a list of names, shapes and places in front of the bytes. llama.cpp: one file,
# GGUF, with names of its own, and the vocabulary inside. llm.c: 256 whole numbers, then the weights without any name.

# %%
gpt.save(folder / "transformers")
gguf.save_gguf(folder / "stories.gguf", config, gpt.params, gpt.tokenizer)
llmc.save_llmc(folder / "stories.bin", config, gpt.params, gpt.tokenizer)

# %% [markdown]
# nanoGPT keeps PyTorch's state: the names of `transformers`, but every linear layer is an `nn.Linear` and lies by output. Its state holds the one matrix for both ends twice, under
# two names. (It is a pickle, which can run code when it is loaded; here it is written as safetensors at once.)

# %%
def is_linear(name):
    return name.startswith("h.") and name.endswith(".weight") and ".ln_" not in name


state = {f"_orig_mod.transformer.{name}": np.ascontiguousarray(array.T if is_linear(name) else array) for name, array in named.items()}
state["_orig_mod.lm_head.weight"] = named["wte.weight"].copy()
model_args = {"n_layer": 6, "n_head": 8, "n_embd": 256, "block_size": 256, "vocab_size": 4096, "bias": True, "dropout": 0.0}
(folder / "nanogpt").mkdir()
save_file(state, folder / "nanogpt" / "model.safetensors")
(folder / "nanogpt" / "config.json").write_text(json.dumps(model_args | {"activation_function": "gelu_new"}))
gpt.tokenizer.save(folder / "nanogpt")

# %% [markdown]
# OpenAI's files of 2019 are a checkpoint of TensorFlow: all numbers in one file, and beside it an *index*, a sorted table from names to places. The table is LevelDB's, each place is a
# protocol buffer, and both are small enough to write by hand. A number goes into groups of 7 bits; a field is its number and kind, then its value; a block ends with a checksum.

# %%
def varint(n):  # 300 -> ac 02
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, value):
    is_bytes = isinstance(value, bytes)
    return varint(number << 3 | 2 * is_bytes) + (varint(len(value)) + value if is_bytes else varint(value))


def fixed(number, value):  # 32 bits, in their full length
    return bytes([number << 3 | 5]) + value.to_bytes(4, "little")


def block(pairs):
    content = b"".join(varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in pairs)
    content += struct.pack("<II", 0, 1) + b"\0"  # where keys begin anew; not compressed
    return content + crc32c.masked(crc32c.checksum(content)).to_bytes(4, "little")


def table(pairs):
    entries = block(pairs)
    index = block([(pairs[-1][0], varint(0) + varint(len(entries) - 5))])
    footer = varint(0) * 2 + varint(len(entries)) + varint(len(index) - 5)
    return entries + index + footer.ljust(40, b"\0") + (0xDB4775248B80FB57).to_bytes(8, "little")


# %%
def their_name(name):  # h.3.mlp.c_fc.weight -> model/h3/mlp/c_fc/w
    place, leaf = name.removeprefix("h.").rsplit(".", 1)
    place = ("h" if name.startswith("h.") else "") + place.replace(".", "/")
    if place in ("wte", "wpe"):
        return f"model/{place}"
    return f"model/{place}/{'b' if leaf == 'bias' else 'g' if 'ln_' in place else 'w'}"


pairs, data = [(b"", field(1, 1) + field(3, field(1, 1)))], b""  # the header: one file of data
for name, array in sorted(named.items(), key=lambda item: their_name(item[0]).encode()):
    shape, raw = (1, *array.shape) if is_linear(name) else array.shape, array.tobytes()  # a convolution of width 1
    sizes = b"".join(field(2, field(1, size)) for size in shape)
    crc = crc32c.masked(crc32c.checksum(raw))
    entry = field(1, 1) + field(2, sizes) + field(4, len(data)) + field(5, len(raw)) + fixed(6, crc)
    pairs, data = [*pairs, (their_name(name).encode(), entry)], data + raw

openai = folder / "openai"
openai.mkdir()
(openai / "model.ckpt.index").write_bytes(table(pairs))
(openai / "model.ckpt.data-00000-of-00001").write_bytes(data)
(openai / "hparams.json").write_text(json.dumps({"n_vocab": 4096, "n_ctx": 256, "n_embd": 256, "n_head": 8, "n_layer": 6}))
for theirs, content in zip(("encoder.json", "vocab.bpe"), gpt.tokenizer.to_files().values(), strict=True):
    (openai / theirs).write_text(content, encoding="utf-8")
print("the index:", (openai / "model.ckpt.index").stat().st_size, "bytes, begins with", table(pairs)[:24].hex(" "))

# %%
paths = {"transformers": folder / "transformers", "GGUF": folder / "stories.gguf", "llm.c": folder / "stories.bin", "TensorFlow": openai, "nanoGPT": folder / "nanogpt"}
for name, path in paths.items():
    found = sorted(path.iterdir()) if path.is_dir() else [path]
    print(f"{name:13}{sum(file.stat().st_size for file in found):>11,} bytes in {len(found)}: {', '.join(file.name for file in found)}")

# %% [markdown]
# Numbers of 4 bytes make 23.4 million of each. What is more: a vocabulary, a list of names, and in nanoGPT's the second copy of `wte`, $4096 \times 256 \times 4$ bytes.
#
# ## One number in five places
#
# Take one weight, from input 5 to output 700 of `c_fc` in block 3. In four of the files a list says where the matrix begins. llm.c has none: whoever reads it must know the order
# (`wte`, `wpe`, then each kind of parameter *for all blocks*) and count.

# %%
name, i, j = "h.3.mlp.c_fc.weight", 5, 700
n_in, n_out = named[name].shape
inside = {False: i * n_out + j, True: j * n_in + i}  # lies by output?


def start_in_llmc(config):
    """Bytes before c_fc of block 3."""
    c, n = config.n_embd, config.n_layer
    before = config.n_vocab * c + config.n_ctx * c  # wte, wpe
    before += n * (c + c) + n * (3 * c * c + 3 * c) + n * (c * c + c) + n * (c + c)  # ln_1, c_attn, c_proj, ln_2
    return 4 * (256 + before + 3 * 4 * c * c)


index = tensorflow.read_index(openai)
places = {
    "transformers": (folder / "transformers" / "model.safetensors", False),
    "GGUF": (folder / "stories.gguf", True),
    "llm.c": (folder / "stories.bin", True),
    "TensorFlow": (index[name][0], False),
    "nanoGPT": (folder / "nanogpt" / "model.safetensors", True),
}
starts = {
    "transformers": header.read_header(places["transformers"][0]).tensors[f"transformer.{name}"].start,
    "GGUF": gguf_header.read_gguf_header(places["GGUF"][0]).tensors["blk.3.ffn_up.weight"].start,
    "llm.c": start_in_llmc(config),
    "TensorFlow": index[name][1].start,
    "nanoGPT": header.read_header(places["nanoGPT"][0]).tensors[f"_orig_mod.transformer.{name}"].start,
}
for form, (path, lies_by_output) in places.items():
    place = starts[form] + 4 * inside[lies_by_output]
    four = path.read_bytes()[place : place + 4]
    print(f"{form:13} byte {place:>10,} of {path.name:30} {four.hex(' ')} = {struct.unpack('<f', four)[0]}")
    assert struct.unpack("<f", four)[0] == named[name][i, j]

# %% [markdown]
# The same four bytes five times. Two files lie by input, three by output: llama.cpp, llm.c and PyTorch multiply a row of weights with the input, one output at a time, and a row is then
# read from end to end.
#
# Here is the whole of it: what stands where, from the first byte to the last.

# %%
def kind_of(name):
    return "embedding" if "wte" in name or "wpe" in name or "lm_head" in name else "layer norm" if "ln_" in name else "attention" if ".attn." in name else "feed-forward"


def llmc_order():
    """(name, bytes) as llm.c lays them."""
    parts = [f"{part}.{leaf}" for part in ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj") for leaf in ("weight", "bias")]
    blocks = [f"h.{i}.{part}" for part in parts for i in range(config.n_layer)]
    return [(name, named[name].nbytes) for name in ["wte.weight", "wpe.weight", *blocks, "ln_f.weight", "ln_f.bias"]]


def spans(tensors):  # {name: TensorInfo} -> (name, bytes), in the order of the file
    return [(name, info.end - info.start) for name, info in sorted(tensors.items(), key=lambda item: item[1].start)]


ours = {gguf.gguf_name(name): name for name in named}
layouts = {
    "transformers": spans(header.read_header(places["transformers"][0]).tensors),
    "GGUF": [(ours[name], n) for name, n in spans(gguf_header.read_gguf_header(places["GGUF"][0]).tensors)],
    "llm.c": llmc_order(),
    "TensorFlow": spans({name: info for name, (_, info) in index.items()}),
    "nanoGPT": spans(header.read_header(places["nanoGPT"][0]).tensors),
}
colours = {"embedding": style.RESIDUAL, "attention": style.ATTENTION, "feed-forward": style.FFN, "layer norm": style.INK}
figure = style.figure(9, 4, "The same model in five files, byte by byte", "stories, float32; the vocabulary and the lists of names are left out", "colour: what the bytes belong to")
axes = figure.subplots()
for row, layout in enumerate(layouts.values()):
    left = 0
    for stored, n_bytes in layout:
        axes.barh(row, n_bytes / 1e6, left=left / 1e6, height=0.7, color=colours[kind_of(stored)], edgecolor="white", linewidth=0.2)
        left += n_bytes
axes.set_yticks(range(5), list(layouts))
axes.invert_yaxis()
axes.set_xlabel("million bytes from the first number")
for label, colour in colours.items():
    axes.barh(0, 0, color=colour, label=label)
axes.set_xlim(0, 34)
axes.legend(loc="upper right", fontsize=8)
style.without_frame(axes, "top", "right")
figure

# %% [markdown]
# In llm.c's file all blocks' matrices of one kind stand together, which is what a program wants that copies them to a GPU in one piece. In the others the blocks follow each other; only the
# embeddings and the order of what is inside a block differ. nanoGPT's is longer by the second `wte`. Layer norms are there, too, and too thin to be seen.
#
# ## One logit
#
# Now the test that counts. Each is opened, and asked for the logit of ` there` behind `Once upon a time,`.

# %%
prompt = gpt.tokenizer.encode("Once upon a time,")
(there,) = gpt.tokenizer.encode(" there")
opened = {form: GPT.from_pretrained(path, ops="numpy") for form, path in paths.items()}
expected = gpt(ids)
for form, other in opened.items():
    difference = np.abs(other(ids) - expected).max()
    print(f"measured: {form:13} logit of ' there' {other(prompt)[0, -1, there]:.5f}, largest difference of all {expected.size:,}: {difference:.1e}")
    assert difference < 1e-4  # logits up to 25, added up in another order: some millionths of that
    assert all(np.array_equal(named[key], array) for key, array in P.walk(other.params))

# %% [markdown]
# All weights are equal, bit by bit. Where the last digits of the logits differ, as they may on another machine, it is for this: what lies by output is mapped as it lies, a matrix product may
# then add up in another order, and sums of floats depend on their order.
#
# ## What a file does not say
#
# The weights are the smaller part of what can go wrong. This is what each opened model knows of itself:

# %%
print(f"{'':13}{'vocabulary':>11}{'end of text':>12}{'activation':>12}{'sampling':>22}")
for form, other in opened.items():
    words = "no" if other.tokenizer is None else f"{other.tokenizer.n_vocab:,}"
    end = "no" if other.config.eos_id is None else str(other.config.eos_id)
    print(f"{form:13}{words:>11}{end:>12}{other.config.activation:>12}{str(other.defaults or 'no'):>22}")

# %% [markdown]
# llm.c's own programs know one vocabulary, GPT-2's 50,257 tokens, so its file holds none. OpenAI's does not name its activation: all of its models had one. nanoGPT's `model_args` do
# not either, and its present code computes the exact GELU where GPT-2 has the approximation by tanh. Above, one word was added to them by hand. Without it:

# %%
(folder / "nanogpt" / "config.json").write_text(json.dumps(model_args))
exact = GPT.from_pretrained(folder / "nanogpt", ops="numpy")
print(exact.config.activation, f"moves logits by up to {np.abs(exact(ids) - expected).max():.2f}, the loss from {loss(gpt):.3f} to {loss(exact):.3f}")
for n_head in (4, 16, 1):
    heads = GPT(config.replace(n_head=n_head), gpt.params, gpt.tokenizer)
    print(f"n_head = {n_head}, each {heads.config.d_head} wide, in place of 8 of 32: every shape fits, and the loss is {loss(heads):.2f}")
    assert loss(heads) > loss(gpt)

# %% [markdown]
# The wrong GELU hides below the noise of any test by eye. The number of heads stands in no shape at all: it is a word in a config, and who reads 16 in place of 8 has a model that opens,
# speaks English, and is somewhat worse than it ought to be. Nobody would look for the reason there.
#
# One more thing is *too much* in a file. llm.c fills `wte` up to a multiple of 128 rows, so that a GPU's tiles divide it. *stories* has 4,096 tokens, which is one. GPT-2 has 50,257:

# %%
rows = -(-50257 // 128) * 128
print(f"{rows:,} rows for 50,257 tokens; {rows - 50257} of them belong to nobody: {(rows - 50257) * 768 * 4:,} bytes of GPT-2 124M's file")

# %% [markdown]
# A program that forgets this reads every later parameter from 144,384 bytes too early. And a program that samples without leaving those rows out may say token 50,300, which no vocabulary
# can spell.
#
# ## Fewer bits
#
# A float32 is a sign, 8 bits for the size and 23 for the digits. *float16* keeps 5 and 10, *bfloat16* 8 and 7: it is the upper half of a float32. One tenth in each:

# %%
def bits(value, n_size, n_digits):
    whole = f"{value:0{1 + n_size + n_digits}b}"
    return f"{whole[0]} {whole[1 : 1 + n_size]} {whole[1 + n_size :]}"


(as_int,) = struct.unpack("<I", struct.pack("<f", 0.1))
half = np.float16(0.1)
upper = (as_int + 0x7FFF + (as_int >> 16 & 1)) >> 16  # to the nearest, and to even where both are as near
print("float32 ", bits(as_int, 8, 23), "=", np.float32(0.1))
print("float16 ", bits(int(half.view(np.uint16)), 5, 10), " " * 12, "=", f"{float(half):.6f}")
print("bfloat16", bits(upper, 8, 7), " " * 15, "=", f"{struct.unpack('<f', struct.pack('<I', upper << 16))[0]:.6f}")

# %% [markdown]
# llama.cpp's *Q8_0* cuts each row into blocks of 32 weights. A block is one scale as float16, then 32 whole numbers from -127 to 127: 34 bytes where float32 takes 128. Here is the first
# block of the matrix from above, read from a file that the library `gguf` rounded:

# %%
gguf.save_gguf(folder / "q8.gguf", config, gpt.params, gpt.tokenizer, "Q8_0")
info = gguf_header.read_gguf_header(folder / "q8.gguf").tensors["blk.3.ffn_up.weight"]
raw = (folder / "q8.gguf").read_bytes()[info.start : info.start + 34]
scale, whole = float(np.frombuffer(raw[:2], np.float16)[0]), np.frombuffer(raw[2:], np.int8)
weights = named[name][:32, 0]  # from inputs 0 to 31 to output 0
print(f"{info.dtype} {list(info.shape)}; scale {scale:.6f}")
print("whole  ", whole[:8])
print("back   ", np.round(scale * whole[:8], 4))
print("weights", np.round(weights[:8], 4))
error = np.abs(scale * whole - weights)
print(f"largest error {error.max():.6f}; half a step is {scale / 2:.6f}")
assert error.max() <= scale / 2 + 127 * scale * 2**-11  # half a step, and the scale's own rounding to 11 bits

# %% [markdown]
# Before you run the next cell: order float16, bfloat16, Q8_0 and Q4_0 by how far they move the logits. A hint: *stories* ships as float16.

# %%
def bfloat16(path, out):
    """llm.c's version 5: the same file, numbers cut to their upper halves."""
    data = path.read_bytes()
    whole = np.frombuffer(data[1024:], "<u4")
    rounded = ((whole + np.uint32(0x7FFF) + (whole >> 16 & 1)) >> 16).astype("<u2")
    numbers = np.frombuffer(data[:1024], "<i4").copy()
    numbers[1] = 5
    out.write_bytes(numbers.tobytes() + rounded.tobytes())


bfloat16(folder / "stories.bin", folder / "bf16.bin")
for kind in ("F16", "Q4_0"):
    gguf.save_gguf(folder / f"{kind}.gguf", config, gpt.params, gpt.tokenizer, kind)
small = {"float32": folder / "stories.gguf", "float16": folder / "F16.gguf", "bfloat16": folder / "bf16.bin", "Q8_0": folder / "q8.gguf", "Q4_0": folder / "Q4_0.gguf"}
for kind, path in small.items():
    other = GPT.from_pretrained(path, ops="numpy")
    bits_each = 8 * path.stat().st_size / P.count(other.params)
    moved = np.abs(other(ids) - expected)
    print(f"{kind:9}{path.stat().st_size:>11,} bytes, {bits_each:5.1f} bits each; logits move by {moved.mean():.3f}, at most {moved.max():.2f}; loss {loss(other):.3f}")

# %% [markdown]
# float16 loses nothing here, since nothing was left to lose. bfloat16 keeps 8 binary digits of every weight, Q8_0 as many of the largest one of a block and fewer of all others; in half the bytes it
# moves logits two to three times as far. Four bits are another matter.
#
# Now look at the losses. They do not keep to that order, and on this text Q4_0 is even the best. That is luck: 41 tokens cannot tell apart what differs by a hundredth. Whoever compares
# formats by a loss needs thousands of tokens ([11](11_eight_bits.ipynb) takes them); whoever compares logits needs one line.
#
# ## What people get wrong
#
# * *"It opened, so it was read right."* `attn.c_proj` is square; the number of heads and the activation stand in no shape. Compare one logit.
# * *"A GGUF is a quantized model."* It is a container. The one above holds every bit of the original.
# * *"The same weights give the same logits."* Equal up to rounding: the order of a sum is part of how it was stored.
# * *"Tied weights are one array in every file."* nanoGPT's state has two, older GGUF files too. If they differ, the model is not tied, whatever its config says.
# * *"float16 is half as exact as float32."* It has 11 binary digits of 24, and fails another way: above 65,504 it is infinite.
#
# ## Exercises
#
# **Easy.** Write `place_of(start, shape, i, j, by_output)`: at which byte of a file stands the float32 weight from input `i` to output `j`, if the matrix begins at byte `start`? `shape` is
# `(n_in, n_out)`; `by_output`: it is stored `[n_out, n_in]`.

# %%
def place_of(start, shape, i, j, by_output):
    ...


ch18.place_of(place_of);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def place_of(start, shape, i, j, by_output):
#     n_in, n_out = shape
#     return start + 4 * (j * n_in + i if by_output else i * n_out + j)
# ```
# </details>
#
# **Medium.** Nobody told you where a state comes from. Write `lies_by_output(shapes, n_embd)`: `shapes` is a dict from names (`"attn.c_attn"`, `"attn.c_proj"`, `"mlp.c_fc"`, `"mlp.c_proj"`, not always
# all four) to the shapes of one block's matrices as they are stored. True where they lie `[n_out, n_in]`, False where they lie `[n_in, n_out]`, None where the shapes cannot say.

# %%
def lies_by_output(shapes, n_embd):
    ...


ch18.lies_by_output(lies_by_output);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def lies_by_output(shapes, n_embd):
#     for name, (first, second) in shapes.items():
#         if first != second:  # all but the last read n_embd numbers
#             return (first if name == "mlp.c_proj" else second) == n_embd
#     return None
# ```
# </details>
#
# **Hard, from the format's description.** Write `q8_0(row)`: 32 float32 weights as the 34 bytes of a Q8_0 block. The step is the largest absolute value divided by 127; the 32 whole numbers are the weights
# divided by that step (before it is rounded) and rounded; the step is stored first, as a little-endian float16. A block of zeros is legal. Then find out: how large an error can the float16 of
# the step add, and for which weight of a block?

# %%
def q8_0(row):
    ...


ch18.q8_0(q8_0);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def q8_0(row):
#     step = np.abs(row).max() / np.float32(127)
#     whole = np.round(row / step) if step else np.zeros(32)
#     return np.array(step, "<f2").tobytes() + whole.astype(np.int8).tobytes()
# ```
# </details>
#
# The step's rounding is a share of up to $2^{-11}$ of every weight, so it is largest where the weight is: 127 steps times $2^{-11}$ is 0.06 steps, small beside the half step of the rounding to whole numbers.
#
# ## Where it stands in the code
#
# | here | there |
# |---|---|
# | which file is what | `nanogpt_np/storage/formats.py` |
# | safetensors, checked before a byte is believed | `nanogpt_np/storage/header.py`, `nanogpt_np/storage/contents.py` |
# | `table`, `field`, `varint`, read | `nanogpt_np/storage/table.py`, `nanogpt_np/storage/tensorflow.py` |
# | the checksum | `nanogpt_np/storage/crc32c.py` |
# | layers by output, `_orig_mod.` | `nanogpt_np/storage/nanogpt.py` |
# | GGUF | `nanogpt_np/storage/gguf_header.py`, `nanogpt_np/storage/gguf.py` |
# | llm.c | `nanogpt_np/storage/llmc.py` |
# | all of it at the command line | `nanogpt-np convert`, `nanogpt-np info` |
