# %% [markdown]
# # 12 · Why did it say that?
#
# **You will be able to** take one word that a model has said and find out which of its parts made it so: read the stream on its way, split a logit into a
# sum, put numbers of one run into another, state a hypothesis and test it on texts that you have not looked at. And to say what such an explanation leaves
# out, because you have seen four ways to be fooled.
#
# **You need** notebooks [00](00_map.ipynb), [03](03_attention.ipynb) and [04](04_heads.ipynb): residual stream, heads, who writes and who reads.

# %%
import inspect

import numpy as np
from checks import ch12
from matplotlib.patches import FancyArrowPatch, Rectangle

from nanogpt_np import GPT, lens
from nanogpt_np.errors import InputError
from nanogpt_np.lens import style
from nanogpt_np.lens.interventions import SITES
from nanogpt_np.lens.logits import read_out

gpt = GPT.from_pretrained("stories", ops="numpy")
config, params = gpt.config, gpt.params

# %% [markdown]
# ## A small question that can be answered
#
# *Why did the model say that?* is too large a question. *Why Mia rather than Sue?* can be answered, if we find a second text in which it says Sue and
# everything else is the same. One token is exchanged, so whatever differs between the two runs differs because of it.

# %%
clean, corrupted = "There was a girl named Mia. One day,", "There was a girl named Sue. One day,"
mia, sue = (gpt.tokenizer.encode(name)[0] for name in (" Mia", " Sue"))
good, bad = lens.run(gpt, clean), lens.run(gpt, corrupted)
assert len(good.ids) == len(bad.ids) and (good.ids != bad.ids).sum() == 1
for text in (clean, corrupted):
    found = lens.next_tokens(gpt, text, k=4)
    print(text, "->", ", ".join(f"{token} {prob:.2f}" for token, prob in zip(found.tokens, found.probs, strict=True)))

# %% [markdown]
# The story goes on with the girl's name, or with `she`. Our measure is the **difference of two logits**, Mia's minus Sue's. Why not the probability of Mia?
# Because the softmax mixes everything with everything: a probability also falls when `she` becomes likelier. The difference is the logarithm of a ratio of
# two probabilities, blind to all other tokens; and up to the last layer norm it is a sum, which we shall use.

# %%
def difference(run):
    """The logit of Mia minus that of Sue, behind the last token."""
    return float(run.logits[-1, mia] - run.logits[-1, sue])


whole, nothing = difference(good), difference(bad)
print(f"Mia in the text: {whole:+.2f}   Sue in the text: {nothing:+.2f}   one token moved it by {whole - nothing:.2f}")

# %% [markdown]
# Somewhere between the sixth token and the last the name must travel. There are 6 blocks, 48 heads, and 6 feed-forward networks (FFN) of 1,024 neurons each. Where
# would you begin to look?
#
# ## When: the logit lens
#
# Read the stream of the last token behind each half-block as if the model ended there.

# %%
names, streams = ["embedded"], {"Mia": [], "Sue": []}
names += [f"L{layer}.{half}" for layer in range(config.n_layer) for half in ("attn", "ffn")]
for name, run in (("Mia", good), ("Sue", bad)):
    rows = [run.sites["resid_pre", 0]]
    rows += [run.sites[site, layer] for layer in range(config.n_layer) for site in ("resid_mid", "resid_post")]
    logits = np.stack([read_out(gpt, row)[-1] for row in rows])
    streams[name] = logits[:, mia] - logits[:, sue]
    if name == "Mia":
        best = [gpt.tokenizer.decode([int(row.argmax())]).replace(" ", "␣") for row in logits]

figure = style.figure(7.6, 3.9, "When does it know? The last token, read early", f"stories, “{clean}”",
                      "above: the likeliest token if the model ended there")  # fmt: skip
axes = figure.subplots()
axes.axhline(0, color=style.RESIDUAL)
for (name, values), mark in zip(streams.items(), ("-", "--"), strict=True):
    axes.plot(values, mark, color=style.INK, marker="o", markersize=4)
    axes.annotate(f"{name} in the text", (12, values[-1]), (8, 0), textcoords="offset points", va="center", fontsize=9)
for place, token in enumerate(best):
    axes.text(place, 7.4, f"“{token}”", ha="center", va="bottom", fontsize=8, rotation=40)
axes.set_xticks(range(13), names, rotation=60, ha="right", fontsize=8)
axes.set(ylim=(-7, 9.5), xlim=(-0.5, 14.5), ylabel="logit of Mia − logit of Sue")
style.without_frame(axes, "top", "right")
figure

# %% [markdown]
# The first blocks know nothing of the name at this place. Then the two lines part, in steps, and each step is at an *attention*: small ones in blocks 2 and
# 3, large ones in blocks 4 and 5. That is where somebody brings the name.
#
# A warning about this lens. Everything before the end is read through a layer norm and an unembedding that were made for the end. A flat line proves that the
# name is not there *in the final alphabet*. It could be there in another. Only an experiment can tell, and it will come below.
#
# ## Who: a logit is a sum
#
# The stream is a sum: embedding, plus what each head adds, plus what each feed-forward network adds. The logit is linear in the stream, but for the division
# by the scale in the last layer norm. Hold that scale at the value it had ("freeze" it), and each part has its own share of the logit. In small: a stream of
# three numbers made of two parts, and a direction.

# %%
part_a, part_b, direction = np.array([3.0, 0, 1]), np.array([0, 4.0, 1]), np.array([1.0, 0.5, -2])
scale = 2.0  # frozen
print("the sum, read:", (part_a + part_b) @ direction / scale)
print("each part, read:", part_a @ direction / scale, "and", part_b @ direction / scale)

# %% [markdown]
# For the real difference there are some dozens of parts: two embeddings, 48 heads, the biases of `c_proj`, which belong to no head, 6 feed-forward networks,
# and the bias of the last layer norm. Do they sum to what the model said?

# %%
view = lens.attribution_view(gpt, clean, " Mia", " Sue")
assert abs(sum(view.parts().values()) - view.total) < 1e-4 and abs(view.total - whole) < 1e-4
print(f"{len(view.parts())} parts, sum {sum(view.parts().values()):.3f}, the model said {view.total:.3f}")
figure = lens.draw_attribution(view, "stories")
figure.axes[0].set_xlim(-0.9, 2.7)
figure

# %% [markdown]
# Two heads stand out, **L4.H7** and **L5.H4**, with about 2 each; then **L3.H4**. A fine list of suspects. But be clear about what it says: who *wrote*
# towards Mia in the end. It does not say who told them to, nor what would happen without them.
#
# ## No hooks
#
# For that we must be able to change something on the way. In most libraries one registers a *hook* and hopes that it runs. Here the pass is a function, and a
# change is a function of an array, by the name of its place: `lens.run(gpt, text, {(site, layer): change})`. There are 11 such sites in each block. Patching
# is one line on top of it:

# %%
print(", ".join(SITES))
source = inspect.getsource(lens.patch)
print(source[source.index("    taken =") :])

# %% [markdown]
# (`_where` turns a position and a head into an index. `base` is a run over the same text whose early blocks can be taken over instead of being computed
# again.) Two things one should never have to believe of such a tool. That it does nothing where nothing should happen: a run patched with itself is the same
# run, **to the last bit**, at every site. And that it never silently does nothing: a place that does not exist is an error.

# %%
for site in SITES:
    for layer in range(config.n_layer):
        assert np.array_equal(lens.patch(gpt, clean, good, site, layer).logits, good.logits)
print(f"{len(SITES) * config.n_layer} sites patched with themselves: the same bits")
assert np.array_equal(good.logits, gpt(good.ids)[0])
try:
    lens.run(gpt, clean, {("resid_post", 6): np.zeros_like})
except InputError as error:
    print(error)

# %% [markdown]
# ## Where: patching place by place
#
# Now the experiment. Run the text with Sue. At one layer, at one place, put in the stream of the text with Mia. How much of Mia comes back? 0: nothing, 1:
# all of the difference. Guess: along which path through the picture will the ones lie?

# %%
lens.draw_patch_map(lens.patch_map(gpt, clean, corrupted, "resid_pre", " Mia", " Sue"), "stories")

# %% [markdown]
# A row shows what stands where *before* that block. In the first rows everything that matters is in the column of the name. From block 2 on it moves over to
# the last column, in steps, and nothing passes through any other place. What row L5 still lacks, block 5 brings.
#
# So what happens in the column of the name, before it is fetched? Try the halves of each block there:

# %%
place = int(np.flatnonzero(good.ids != bad.ids)[0])
print("restored, at the place of the name     attention   FFN")
for layer in range(config.n_layer):
    runs = [lens.patch(gpt, corrupted, good, site, layer, position=place) for site in ("attn_out", "ffn_out")]
    back = [(difference(run) - nothing) / (whole - nothing) for run in runs]
    print(f"{'block ' + str(layer):>36}{back[0]:12.2f}{back[1]:8.2f}")
    assert layer or back[1] > 0.95
embedding, second = (np.linalg.norm(good.sites[site, 0][place]) for site in ("resid_pre", "ffn_out"))
print(f"in the stream at that place: length of the embedding {embedding:.1f}, of what this FFN adds {second:.1f}")

# %% [markdown]
# The feed-forward network of block 0 alone carries all of it. Put *its* output for Mia into the text of Sue, with Sue's embedding still in the stream, and
# the model says Mia. It is a second embedding, many times longer than the first, and the one that later blocks read. (The same has been seen in GPT-2. It is
# one reason why a token's meaning should not be read from `wte` alone.)
#
# ## Which heads: patching head by head
#
# The same experiment, with what each head has mixed, at all places at once.

# %%
by_head = lens.patch_map(gpt, clean, corrupted, "mixed", " Mia", " Sue")
lens.draw_patch_map(by_head, "stories")

# %% [markdown]
# Of 48 heads, five do something. The three suspects, and two smaller ones, L2.H1 and L4.H4. What about them differs between the two runs: where they look, or
# what they find? A head can be patched in parts.

# %%
FIVE = ((3, 4), (4, 7), (5, 4), (2, 1), (4, 4))
print("head     looks at the name   restored by its: look (probs)   values   all")
for layer, head in FIVE:
    look = good.sites["probs", layer][head, -1, place]
    runs = [lens.patch(gpt, corrupted, good, site, layer, head=head) for site in ("probs", "v", "mixed")]
    back = [(difference(run) - nothing) / (whole - nothing) for run in runs]
    print(f"L{layer}.H{head}{look:16.2f}{back[0]:30.2f}{back[1]:15.2f}{back[2]:7.2f}")
    assert abs(back[0]) < 0.1 and abs(back[2] - by_head.restored[layer, head]) < 1e-4

# %% [markdown]
# They look at the name in both texts, whichever it is. What differs is what they find there, the **values**. "Look at the name" and "carry it over" are two
# different mechanisms, and we have the second one.
#
# ## From whom: path patching
#
# Is there anything between? Perhaps an earlier head hands the name to a later one. Path patching asks exactly that: let what *one* earlier head wrote in the
# text of Mia reach only *one* later head, and of that only its queries, keys or values; everything else stays in the text of Sue.

# %%
for into in ("v", "q"):
    paths = np.zeros((5, config.n_head))
    for sender in np.ndindex(paths.shape):
        moved = lens.path_patch(gpt, corrupted, good, sender, (5, 4), into)
        paths[sender] = (difference(moved) - nothing) / (whole - nothing)
    layer, head = np.unravel_index(np.abs(paths).argmax(), paths.shape)
    print(f"into the {into} of L5.H4: of 40 senders the largest effect has L{layer}.H{head}: {paths[layer, head]:+.3f}")
    assert np.abs(paths).max() < 0.06
moved = lens.path_patch(gpt, corrupted, good, (4, 7), (5, 4), "q")
looks = [run.sites["probs", 5][4, -1, place] for run in (bad, moved)]
print(f"how much L5.H4 looks at Sue: {looks[0]:.2f}; when its queries believe that L4.H7 has brought Mia: {looks[1]:.2f}")
assert looks[1] > looks[0] + 0.1

# %% [markdown]
# Nobody hands it on: no head matters *through* L5.H4's values by more than a hundredth. The heads work side by side, and each fetches the name from the
# column where block 0 has put it. One path is worth a second look, that from L4.H7 to the *queries* of L5.H4. Its effect is negative, and the last line says
# why. Where L4.H7 has brought Sue, L5.H4 looks at Sue only so much. Make it believe that Mia was brought, and it looks at Sue harder. **It looks the less,
# the more its name has been brought already.** Remember that.
#
# So this is the circuit, as far as one pair of texts can show it:

# %%
figure = style.figure(8.4, 5, "How “Mia” gets from the sixth token to the answer",
                      "stories, Mia's run patched into Sue's", "width: how much a head looks at the name",
                      "darkness, and “brings”: how much of Mia comes back")  # fmt: skip
axes = figure.subplots()
last, restored = len(good.ids) - 1, by_head.restored
for column in range(len(good.ids)):
    axes.plot([column, column], [-0.4, 6.1], color=style.RESIDUAL, linewidth=2, zorder=0)
axes.plot([place, place], [0.3, 4.9], color=style.FFN, linewidth=4, zorder=1)
axes.add_patch(Rectangle((place - 0.45, 0.05), 0.9, 0.55, facecolor=style.FFN, zorder=2))
axes.text(place, 0.32, "FFN", color="white", ha="center", va="center", fontsize=9, zorder=3)
axes.text(place - 0.6, 0.32, "brings 1.00", ha="right", va="center", fontsize=8.5)
colours = style.colour_map(("#ffffff", style.ATTENTION))
heights = {(2, 1): 2.1, (3, 4): 3.1, (4, 4): 3.85, (4, 7): 4.35, (5, 4): 5.25}
for (layer, head), height in heights.items():
    look, colour = good.sites["probs", layer][head, -1, place], colours(min(1.0, 0.15 + 2.4 * restored[layer, head]))
    axes.add_patch(FancyArrowPatch((place, height - 0.4), (last - 0.12, height), connectionstyle="arc3,rad=-0.12",
                                   arrowstyle="-", linewidth=9 * look, color=colour, zorder=1))  # fmt: skip
    axes.plot(last - 0.08, height, marker=">", markersize=6 + 9 * look, color=colour, zorder=2)
    words = f"L{layer}.H{head}  looks {look:.2f}, brings {restored[layer, head]:.2f}"
    axes.text(last + 0.35, height, words, va="center", fontsize=8.5)
axes.plot([last, last], [2.1, 6.1], color=style.ATTENTION, linewidth=3, zorder=1)
axes.text(last + 0.35, 6.0, f"says Mia: {lens.next_tokens(gpt, clean, k=1).probs[0]:.2f}", va="center", fontsize=9)
style.mark_tokens(axes.xaxis, good.tokens)
axes.set_yticks([layer + 0.1 for layer in range(6)], [f"block {layer}" for layer in range(6)], fontsize=8.5)
axes.set(xlim=(-0.4, 13.9), ylim=(-0.4, 6.4))
axes.tick_params(length=0)
style.without_frame(axes, "top", "right", "bottom", "left")
figure

# %% [markdown]
# Read it from below. The name enters as a token; the FFN of block 0 makes of it something that later blocks can read as *Mia*. At the last token, several
# heads look for *a name*, find that column, and copy what it is into the last column, where the unembedding reads it.
#
# A story like this is easily told. It was told after looking at **one** pair of texts. Now it has to foretell something.
#
# ## A hypothesis, and four predictions
#
# > *L3.H4, L4.H7 and L5.H4 look at the name of the person whom a sentence is about and copy it to where the next subject is due. (L2.H1 and L4.H4 help a
# > little.)*
#
# For 40 new pairs: five sentences that no one had run through the model when these lines were written; names of girls and boys, neither Mia nor Sue.
#
# 1. **Place.** On average each of the three gives more than half its look to the name.
# 2. **Sufficient.** Put the three heads' outputs of one text, at the last token alone, into the other: more than half of the difference comes. With three
#    other heads, drawn at random: nothing.
# 3. **Necessary.** Take those three outputs from the other text, and leave all else: more than half of the difference goes.
# 4. **Key.** Give the name's column the block-0 FFN output of an ordinary word, and the heads look away.

# %%
GIRLS = "Lily Sara Anna Amy Lucy Jane Jill Emma Ella Sally Molly Daisy Jenny Mary".split()
BOYS = "Tim Tom Ben Max Jack Bob Sam Billy Timmy John Joe Tommy Leo Jimmy".split()
PEOPLE = GIRLS + BOYS
token = {name: gpt.tokenizer.encode(" " + name)[0] for name in PEOPLE}
assert all(len(gpt.tokenizer.encode(" " + name)) == 1 for name in PEOPLE)
SENTENCES = (
    "Once there was a clever {kind} named {name}. After lunch,",
    "A young {kind} called {name} had a kite. {She} liked the wind. That night,",
    "In a small town, there was a {kind} named {name}. In the morning,",
    "Near the woods lived a {kind}. {Her} name was {name}. Today,",
    "Long ago, {name} went to the sea with {her} dad. At last,",
)


def told(sentence, name):
    """A sentence about somebody."""
    is_girl = name in GIRLS
    return sentence.format(name=name, kind="girl" if is_girl else "boy", She="She" if is_girl else "He",
                           Her="Her" if is_girl else "His", her="her" if is_girl else "his")  # fmt: skip


rng = np.random.default_rng(20)
pairs = []
for sentence in SENTENCES:
    for i in range(8):
        first, second = (str(name) for name in rng.choice(GIRLS if i % 2 else BOYS, 2, replace=False))
        pairs.append((first, second, lens.run(gpt, told(sentence, first)), lens.run(gpt, told(sentence, second))))
right = sum(max(PEOPLE, key=lambda name: one.logits[-1, token[name]]) == first for first, _, one, _ in pairs)
print(f"{len(pairs)} pairs; of {len(PEOPLE)} names the model finds the right one likeliest in {right}")
assert right >= 36

# %% [markdown]
# It does what we claim to explain. To change several heads at once, we need a dictionary with a change for each of their layers:

# %%
def from_other(source, heads):
    """Changes for lens.run: at the last token, what these heads gave in another run."""

    def change_of(layer):
        def put_in(mixed):  # [n_head, n_seq, d_head]
            for its_layer, head in heads:
                if its_layer == layer:
                    mixed[head, -1] = source.sites["mixed", layer][head, -1]
            return mixed

        return put_in

    return {("mixed", layer): change_of(layer) for layer, _ in heads}


def share(first, second, one, other, heads):
    """How much of the difference between two names comes with what `heads` gave in run `one` -> 0 to 1."""
    a, b = token[first], token[second]
    moved = lens.run(gpt, other.ids, from_other(one, heads))
    before, wanted, got = (float(run.logits[-1, a] - run.logits[-1, b]) for run in (other, one, moved))
    return (got - before) / (wanted - before)


THREE, rest = FIVE[:3], [head for head in np.ndindex(6, 8) if head not in FIVE]
comes = {"the three heads": [], "all five": [], "three others, at random": []}
goes = []
for first, second, one, other in pairs:
    comes["the three heads"].append(share(first, second, one, other, THREE))
    comes["all five"].append(share(first, second, one, other, FIVE))
    goes.append(share(second, first, other, one, THREE))
    for _ in range(4):
        drawn = [rest[i] for i in rng.choice(len(rest), 3, replace=False)]
        comes["three others, at random"].append(share(first, second, one, other, drawn))
looks = np.mean([[one.sites["probs", layer][head, -1, np.flatnonzero(one.ids != other.ids)[0]] for layer, head in THREE]
                 for _, _, one, other in pairs], axis=0)  # fmt: skip
print("1. looks at the name:", ", ".join(f"L{a}.H{b} {look:.2f}" for (a, b), look in zip(THREE, looks, strict=True)))
print("2. comes with:", ", ".join(f"{name} {np.mean(shares):.2f}" for name, shares in comes.items()))
print(f"3. goes with the three: {np.mean(goes):.2f}")
for name, shares in {**comes, "goes with the three": goes}.items():
    print(f"   {name:24} more than half in {sum(value > 0.5 for value in shares):3} of {len(shares)}")
assert looks[:2].min() > 0.5 > looks[2] and np.mean(comes["the three heads"]) > 0.5 and np.mean(goes) > 0.5
assert max(comes["three others, at random"]) < 0.5

# %%
figure = style.figure(7.6, 3.7, "40 new pairs: how much of the name comes with which heads", "stories",
                      "each dot is a pair; 0: nothing, 1: all of the difference; bars: means")  # fmt: skip
axes = figure.subplots()
jitter = np.random.default_rng(0)
for row, shares in enumerate(comes.values()):
    across = jitter.uniform(-0.25, 0.25, len(shares))
    axes.scatter(shares, row + across, s=12, color=style.ATTENTION if row < 2 else style.PALE, alpha=0.6)
    axes.plot([np.mean(shares)] * 2, [row - 0.36, row + 0.36], color=style.INK, linewidth=2)
axes.set_yticks(range(3), comes, fontsize=9)
axes.axvline(0, color=style.RESIDUAL, zorder=0)
axes.axvline(1, color=style.RESIDUAL, zorder=0)
axes.set(ylim=(2.6, -0.6), xlabel="share of the difference")
style.without_frame(axes, "top", "right", "left")
figure

# %% [markdown]
# Predictions 2 and 3 hold in every single pair, with room to spare, and the random heads give nothing. (Without that control, the other numbers would mean
# little. If *any* three heads moved so much, we should have learned nothing.) But 3 is no second witness: both texts of a pair are of one kind, so it is 2 with
# the texts exchanged, and *necessary* means here only that nobody stands in against a wrong name. What happens without any name is asked below, under *removed*.
# Prediction 1 has **failed**, for L5.H4: less than half of its look goes to the
# name. Do not bend the prediction now. Ask why, and let the reason foretell something as well. We have seen that L5.H4 holds back when its name has been
# brought. Then it should look harder, in the same texts, with L4.H7 silenced:

# %%
harder = []
for _, _, one, other in pairs:
    where = int(np.flatnonzero(one.ids != other.ids)[0])
    silenced = lens.ablate(gpt, one.ids, 4, head=7)
    harder.append([run.sites["probs", 5][4, -1, where] for run in (one, silenced)])
harder = np.array(harder)
print(f"L5.H4 looks at the name with {harder[:, 0].mean():.2f}, without L4.H7 with {harder[:, 1].mean():.2f}; "
      f"harder in {(harder[:, 1] > harder[:, 0]).sum()} of {len(harder)}")  # fmt: skip

# %% [markdown]
# **4. The key.** The FFN output of block 0, in the name's column alone, is exchanged for that of an ordinary word.

# %%
kept, words = [], (" tree", " red", " very", " box", " run")
for i, (_, _, one, other) in enumerate(pairs):
    where = int(np.flatnonzero(one.ids != other.ids)[0])
    ids = one.ids.copy()
    ids[where] = gpt.tokenizer.encode(words[i % len(words)])[0]
    moved = lens.patch(gpt, one.ids, lens.run(gpt, ids), "ffn_out", 0, position=where)
    kept.append([[run.sites["probs", layer][head, -1, where] for layer, head in THREE] for run in (one, moved)])
before, after = np.mean(kept, axis=0)
for (layer, head), a, b in zip(THREE, before, after, strict=True):
    print(f"4. L{layer}.H{head} looks at the name's column with {a:.2f}; with a word's FFN output in it, {b:.2f}")
assert (after < 0.25 * before).all()

# %% [markdown]
# **A second witness.** Forget all experiments. Let each of the 48 heads look at a name: what would it write? Its value there times its rows of `c_proj`, read
# against the 28 names. For how many of them is the loudest the same name?

# %%
ends = params["wte"]["weight"] * params["ln_f"]["weight"]
ends = (ends - ends.mean(axis=1, keepdims=True))[[token[name] for name in PEOPLE]]  # [28, n_embd]
runs = [lens.run(gpt, f"There was a child named {name}") for name in PEOPLE]  # the name is the last token
copied = np.zeros((config.n_layer, config.n_head), int)
for layer, head in np.ndindex(copied.shape):
    found = np.stack([run.sites["v", layer][head, -1] for run in runs])  # [28, d_head]
    own = params["h"][layer]["attn"]["c_proj"]["weight"][32 * head : 32 * (head + 1)]
    copied[layer, head] = ((found @ own @ ends.T).argmax(axis=1) == np.arange(28)).sum()
order = sorted(np.ndindex(copied.shape), key=lambda place: -copied[place])
print("names copied, of 28:", ", ".join(f"L{a}.H{b} {copied[a, b]}" for a, b in order[:5]))
best_other = max((place for place in order if place not in FIVE and place[0] > 0), key=lambda place: copied[place])
print(f"the best of all others behind block 0: L{best_other[0]}.H{best_other[1]} with {copied[best_other]}")
assert set(order[:5]) == set(FIVE)

# %% [markdown]
# This measure knows nothing of pairs of texts, of answers, or of where heads look; and of 48 heads it picks the same five. Two methods that share hardly a
# step and agree: that is what evidence looks like. (L2.H1 *can* copy nearly every name, and brings little. We shall come to that.)
#
# ## What the explanation does not explain
#
# Be as strict with the result as with the guess.

# %%
single = sum(by_head.restored[place] for place in THREE)
together = (difference(lens.run(gpt, corrupted, from_other(good, THREE))) - nothing) / (whole - nothing)
print(f"on the first pair: the three one by one sum to {single:.2f}, together they bring {together:.2f}")
of_three, of_five = np.mean(comes["the three heads"]), np.mean(comes["all five"])
print(f"on new pairs: the three bring {of_three:.2f}, the five {of_five:.2f}")
rate = np.mean([float(np.exp(lens.tokens.log_softmax(one.logits[-1:]))[0, token[first]]) for first, _, one, _ in pairs])
print(f"how often it says the name at all, in the mean: {rate:.2f}")

# %% [markdown]
# * More than a fifth is carried by others. Two more heads bring nearly all of it; the effects of single heads do not add up.
# * It explains *which* name, given that a name is said. Whether the name or `she` is said is another question. (A third one, `she` or `he`, is the last exercise.)
# * It does not explain how the heads know that a subject is due. We did not follow that.
# * And with **two** people in the text? The hypothesis says nothing. The natural extension is: the one whom L4.H7 and L5.H4 look at more. Predict and count:

# %%
TWO = (
    "There was a girl named {a} and a boy named {b}. One day,",
    "There was a boy named {b} and a girl named {a}. One day,",
    "There was a girl named {a}. Her friend was {b}. One day,",
    "A girl named {a} played with {b}. Then,",
    "A boy named {b} saw {a} in the park. Then,",
)
agree, first_wins, rng = [], [], np.random.default_rng(21)
for sentence in TWO:
    for _ in range(8):
        a, b = str(rng.choice(GIRLS)), str(rng.choice(BOYS))
        run = lens.run(gpt, sentence.format(a=a, b=b))
        places = [int(np.flatnonzero(run.ids == token[name])[0]) for name in (a, b)]
        look = [sum(run.sites["probs", layer][head, -1, where] for layer, head in ((4, 7), (5, 4))) for where in places]
        says_a = run.logits[-1, token[a]] > run.logits[-1, token[b]]
        agree.append((look[0] > look[1]) == says_a)
        first_wins.append((places[0] < places[1]) == says_a)
print(f"the one who is looked at more is the likelier name: {sum(agree)} of {len(agree)}")
print(f"the one who came first is the likelier name:        {sum(first_wins)} of {len(first_wins)}")
assert 24 < sum(agree) < 38

# %% [markdown]
# Better than a coin, far from the whole truth; "the one who came first" does as well and needs no circuit. With two people something else is at work that we
# have not found. That sentence belongs in a report as much as the rest.
#
# ## One neuron, read out
#
# The heads look for *a name*. Who tells them that it is one? Block 0's FFN, as prediction 4 showed. Is there a neuron for it? Search in six texts, then test
# on others.

# %%
TEXTS = (
    "Tom and his dog went to the beach. They played in the sand. Then they swam in the sea.",
    "Once upon a time, there was a bear named Max. He lived in a big cave and liked honey very much.",
    'A girl named Lucy was sad. Her mom said, "Do not cry. We can find your doll together." Lucy smiled.',
    "One day, Ben saw a red car. Ben wanted to play with it, but it was too high. His dad helped Ben.",
    "The sun was hot. A little bird was looking for water. It flew to a pond and took a drink.",
    "One day, Sam and Anna ran to the park. When it started to rain, Anna and Sam went home.",
)
is_name, hidden = [], []
for run in (lens.run(gpt, text) for text in TEXTS):
    hidden.append(run.sites["hidden", 0])  # [n_seq, n_hidden]
    is_name += [word.strip("␣") in PEOPLE for word in run.tokens]
is_name, hidden = np.array(is_name), np.concatenate(hidden)
gap = hidden[is_name].mean(axis=0) - hidden[~is_name].mean(axis=0)
neuron = int(gap.argmax())
excited = lens.neuron_texts(gpt, TEXTS, layer=0, neuron=neuron, k=10)
its = hidden[:, neuron]
print(f"neuron {neuron} of 1,024: in the mean {its[is_name].mean():.2f} on names, {its[~is_name].mean():.2f} elsewhere")
for words, where, value in zip(excited.texts, excited.positions, excited.values, strict=True):
    around = (words[max(where - 3, 0) : where], ["["], words[where : where + 1], ["]"], words[where + 1 : where + 3])
    print(f"{value:6.2f}   {''.join(sum(around, [])).replace('␣', ' ')}")

# %% [markdown]
# Its ten strongest places are ten names. A *name neuron*, then. Prediction for new texts: above 2 on every name, also on rarer ones that were not among
# these; below 2 on all other words.

# %%
others = "Bobby Susie Mark Peter Alex Lisa Rex Ann Fred Polly Teddy Benny Pete Mimi Fluffy Spot Rose Kitty".split()
on_names, on_words = [], []
for i, name in enumerate(others):
    run = lens.run(gpt, TEXTS[i % 6] + f" Then {name} came along and asked what they were doing.")
    where = len(run.ids) - 10
    assert run.tokens[where] == "␣" + name
    on_names.append(run.sites["hidden", 0][where, neuron])
    on_words += run.sites["hidden", 0][where + 1 :, neuron].tolist()
print(f"above 2 on {sum(value > 2 for value in on_names)} of {len(others)} new names, "
      f"and on {sum(value > 2 for value in on_words)} of {len(on_words)} other words")  # fmt: skip
missed = [name for name, value in zip(others, on_names, strict=True) if value <= 2]
print("names it misses:", ", ".join(missed))
assert max(on_words) < 2 and len(missed) >= 5

# %% [markdown]
# The second half of the prediction holds, the first does not. *Excited by names* was too large a label; *by names that stories use often* would be the next
# one to test. Without the new texts we should not have noticed: neither the top of the list nor a mean shows what a neuron misses.
#
# And what is it *for*? If the heads find names by it, then without it, in the name's column, they must look away.

# %%
def silence(hidden):
    hidden[place, neuron] = 0
    return hidden


dumb = lens.run(gpt, clean, {("hidden", 0): silence})
for layer, head in THREE:
    looks = [run.sites["probs", layer][head, -1, place] for run in (good, dumb)]
    print(f"L{layer}.H{head} looks at the name with {looks[0]:.2f}; without the neuron, {looks[1]:.2f}")
    assert looks[1] > 0.9 * looks[0]
print(f"Mia minus Sue: {difference(good):.2f}, without the neuron {difference(dumb):.2f}")

# %% [markdown]
# Nothing happens. The neuron tells us of names, and the circuit does not need it: the other neurons say the same together. That we can read something from a
# model does not mean that the model reads it there.
#
# ## Four ways to be fooled
#
# **1. Attention is not importance.** Which head looks hardest at the name? And what does it bring?

# %%
look = np.stack([good.sites["probs", layer][:, -1, place] for layer in range(6)])
hardest = tuple(int(i) for i in np.unravel_index(look.argmax(), look.shape))
brings = by_head.restored[hardest]
print(f"L{hardest[0]}.H{hardest[1]} looks at the name with {look[hardest]:.2f}, and brings {brings:.2f}")
for ending in ("She saw the", "She said,"):
    run = lens.run(gpt, f"There was a girl named Mia. {ending}")
    print(f"behind “{ending}”, where no name is due: {run.sites['probs', 2][1, -1, place]:.2f}; "
          f"L4.H7 {run.sites['probs', 4][7, -1, place]:.2f}")  # fmt: skip
assert hardest == (2, 1) and by_head.restored[hardest] < 0.1

# %% [markdown]
# L2.H1, the brightest stripe in notebook 04. It looks at the name from everywhere, also where no name is due, and its copy is faint. What it is good for we
# do not know.
#
# **2. Ablation is not attribution, as others step in.** Silence one head and compare what it had written with what is lost. If every head minded its own
# business, the two columns would be equal.

# %%
def direct(run):
    """What each head wrote for Mia and against Sue, ln_f's scale held at that run's -> [n_layer, n_head]."""
    row = (params["wte"]["weight"][mia] - params["wte"]["weight"][sue]).astype(float) * params["ln_f"]["weight"]
    row = (row - row.mean()) / np.sqrt(run.sites["resid_post", 5][-1].astype(float).var() + config.layer_norm_eps)
    mixed = np.stack([run.sites["mixed", layer][:, -1] for layer in range(6)])  # [n_layer, n_head, d_head]
    bands = np.stack([block["attn"]["c_proj"]["weight"].reshape(8, 32, 256) for block in params["h"]])
    return ((mixed[:, :, None] @ bands)[:, :, 0] @ row).astype(float)


written = direct(good)
assert np.allclose(written, view.heads, atol=1e-4)  # as the library says
print("silenced   had written   is lost   who writes more now   L5.H4 looks at the name")
for layer, head in FIVE:
    run = lens.ablate(gpt, clean, layer, head=head)
    more = direct(run) - written
    more[layer, head] = 0
    helper = np.unravel_index(more.argmax(), more.shape)
    numbers = f"{written[layer, head]:16.2f}{whole - difference(run):10.2f}"
    looks = run.sites["probs", 5][4, -1, place]
    print(f"L{layer}.H{head}{numbers}   L{helper[0]}.H{helper[1]} {more[helper]:+.2f}{looks:26.2f}")
print(f"(with all heads, L5.H4 looks at it with {good.sites['probs', 5][4, -1, place]:.2f})")
without = {head: whole - difference(lens.ablate(gpt, clean, head[0], head=head[1])) for head in FIVE}
assert without[3, 4] < 0.5 * written[3, 4] and without[2, 1] < 0.2 * written[2, 1]

# %% [markdown]
# L3.H4 had written 0.76; without it only about a third of that is missing, as L5.H4 makes good nearly half. What L4.H7 had written is lost by about
# three fifths, and L5.H4 again makes up for much of the rest. The last column shows how. It is the negative path that we saw: L5.H4 looks the harder, the less
# its name has been brought. L5.H4 itself has nobody behind it, and what it had written is lost almost whole. Nobody designed these spares. Call L3.H4
# "unimportant" after an ablation, and you are wrong; call it "responsible for 0.76", and you are wrong as well.
#
# **3. "Removed" has no single meaning.** Zero is a number like others, and often one that the model has never seen at that place. What a part *always* adds,
# later blocks count on, like a bias. Put the mean in, and only what *varies* is removed. Put another text's in, and only what differs between the two.

# %%
STORY = (
    "Once upon a time, there was a little boy named Tim. Tim loved to play outside. One day, he found a big, shiny "
    "rock. He was very happy. Tim wanted to show his friends the rock. He took the rock to his house and showed them "
    "his friends. They all wanted to play too."
)


def loss(changes=None):
    run = lens.run(gpt, STORY, changes)
    return -lens.tokens.log_softmax(run.logits[:-1])[np.arange(len(run.ids) - 1), run.ids[1:]].mean()


for layer in (0, 1):
    mean = np.concatenate([lens.run(gpt, text).sites["attn_out", layer] for text in TEXTS]).mean(axis=0)
    changes = np.zeros_like, lambda x, mean=mean: np.broadcast_to(mean, x.shape)
    by_zero, by_mean = (loss({("attn_out", layer): change}) - loss() for change in changes)
    print(f"attention of block {layer}: by 0 the loss rises by {by_zero:.2f}, by its mean by {by_mean:.2f}")
    assert by_mean < 0.65 * by_zero


def replaced(new):
    """The run with what the three heads give replaced, at all tokens; new: layer -> [n_head, d_head]."""
    changes = {}
    for layer in (3, 4, 5):
        ours = [(layer, head) in THREE for head in range(8)]
        changes["mixed", layer] = lambda x, layer=layer, ours=ours: np.where(
            np.array(ours)[:, None, None], new(layer)[:, None], x
        )
    return lens.run(gpt, clean, changes)


def usual(layer):
    return np.concatenate([lens.run(gpt, text).sites["mixed", layer] for text in TEXTS], axis=1).mean(axis=1)


def of_sue(layer):
    return bad.sites["mixed", layer][:, -1]


for name, new in {"0": lambda layer: np.zeros((8, 32)), "their means": usual, "Sue's": of_sue}.items():
    print(f"the three heads replaced by {name}: Mia minus Sue {whole:.2f} -> {difference(replaced(new)):+.2f}")

# %% [markdown]
# More than half of what block 0's attention seems to do is adding a constant. And in the last lines: without the name, and with a wrong name, are two
# different questions, with different answers. Say which one you asked.
#
# **4. The frozen scale thaws.** Attribution holds the last layer norm's scale. A part that writes nothing towards Mia can still matter, by making the whole
# stream longer: then everything else is divided by more. Take one part out of the final stream, and read:

# %%
x = good.sites["resid_post", 5][-1].astype(np.float32)
scale = float(np.sqrt(x.var() + config.layer_norm_eps))
print("taken out        wrote   so expected   but read   scale")
for site, layer in (("attn_out", 1), ("ffn_out", 1), ("ffn_out", 0), ("ffn_out", 4)):
    part = good.sites[site, layer][-1]
    wrote = view.ffn[layer] if site == "ffn_out" else view.heads[layer].sum() + view.attention_bias[layer]
    rest_of_x = (x - part)[None]
    logits = read_out(gpt, rest_of_x)[0]
    name, read = f"L{layer}.{site.split('_')[0]}", float(logits[mia] - logits[sue])
    scales = f"{scale:.2f} -> {float(np.sqrt(rest_of_x.var() + config.layer_norm_eps)):.2f}"
    print(f"{name:12}{wrote:+10.2f}{whole - wrote:14.2f}{read:11.2f}   {scales}")
doubled = read_out(gpt, 2 * x[None])[0]
print(f"the whole stream twice as long: {float(doubled[mia] - doubled[sue]):.2f}, as before")
assert abs(float(doubled[mia] - doubled[sue]) - whole) < 1e-3

# %% [markdown]
# The FFN of block 0 wrote a little *for* Mia; take it away, and the difference does not fall, it rises. It had made the stream longer. A frozen scale is a
# choice of what to call a part, not a law of nature.
#
# ## What people get wrong
#
# * *"The logit lens shows what the model thinks in the middle."* It shows what the end would read there. In the *name's own* column, where patching found all
#   of the information, the lens does not see Mia:

# %%
rows = np.stack([read_out(gpt, good.sites["resid_pre", layer])[place] for layer in range(1, 6)])
ranks = (rows > rows[:, mia][:, None]).sum(axis=1)
print("in the name's column more than 10 tokens are likelier than Mia, behind each block:", ranks.min() > 10)
assert ranks.min() > 10

# %% [markdown]
# * *"The effects of the parts add up to 100 %."* Only in attribution, by construction. Patching one by one and ablating one by one do not, as you have seen,
#   since parts read each other.
# * *"We have found the neuron for X."* We have found a neuron that can be read as X. See above.
# * *"A circuit is what is left when you remove what does not matter."* It depends on the texts, on the measure, and on what "remove" means. The same three
#   heads with another question:

# %%
she, he = (gpt.tokenizer.encode(word)[0] for word in (" she", " he"))
girl, boy = (lens.run(gpt, f"There was a little {kind}. One day,") for kind in ("girl", "boy"))
moved = lens.run(gpt, boy.ids, from_other(girl, THREE))
before, wanted, got = (float(run.logits[-1, she] - run.logits[-1, he]) for run in (boy, girl, moved))
print(f"of the choice between she and he, the three name heads carry {(got - before) / (wanted - before):.2f}")
assert (got - before) / (wanted - before) < 0.35

# %% [markdown]
# ## Exercises
#
# **Easy.** Write `mean_output(runs, layer)`: for replacing heads by their mean, what each head of a layer gives on average: `[n_head, d_head]`. Average over
# all tokens of all runs, so that each *token* counts the same. (`run.sites["mixed", layer]` is `[n_head, n_seq, d_head]`; texts differ in length.)

# %%
def mean_output(runs, layer):
    ...


ch12.mean_output(mean_output);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def mean_output(runs, layer):
#     return np.concatenate([run.sites["mixed", layer] for run in runs], axis=1).mean(axis=1)
# ```
# </details>
#
# **Medium.** Which attention decides? Write `knock_out(gpt, prompt, layer, head, query, key)`: a Run in which that head, at the place `query`, may not look
# at the place `key`; its other shares at that place grow so that they sum to 1 again, as if the score had been masked. Nothing else is touched. (`lens.run`,
# site "probs": `[n_head, n_seq, n_seq]`.) Then cut the look at the name in L4.H7 and in L2.H1.

# %%
def knock_out(gpt, prompt, layer, head, query, key):
    ...


ch12.knock_out(knock_out);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def knock_out(gpt, prompt, layer, head, query, key):
#     def cut(probs):
#         probs[head, query, key] = 0
#         probs[head, query] /= probs[head, query].sum()
#         return probs
#
#     return lens.run(gpt, prompt, {("probs", layer): cut})
# ```
# </details>
#
# **Hard, an investigation.** Why `she`? After "There was a little girl. One day," the model says `she`, with `boy` it says `he`. Find at most **five heads**
# that carry this choice, by whatever means: attribution, patching, looking. Write them into `pronoun_heads()`, a function that returns a list of `(layer,
# head)`. The check takes the heads' outputs at the last token from one text into the other, on pairs that you have not seen (also with `queen` and `king`,
# `mom` and `dad`, …), and asks for two thirds of the difference in the mean. Then: which head is in both circuits? Do the heads look at `girl`?

# %%
def pronoun_heads():
    ...


ch12.pronoun_heads(pronoun_heads);

# %% [markdown]
# <details><summary>a solution</summary>
#
# ```python
# def pronoun_heads():
#     # lens.patch_map(gpt, "There was a little girl. One day,", "There was a little boy. One day,", "mixed", " she", " he")
#     return [(5, 6), (3, 4), (4, 0), (4, 3)]
# ```
# </details>
#
# ## Where it stands in the code
#
# | here | there |
# |---|---|
# | a pass with changes, and its 11 sites | `nanogpt_np/lens/interventions.py`: `run`, `SITES`, `ablate` |
# | patching, maps, paths | `nanogpt_np/lens/patching.py`: `patch`, `patch_map`, `path_patch` |
# | the logit lens | `nanogpt_np/lens/logits.py`: `read_out`, `logit_lens_view` |
# | a logit as a sum | `nanogpt_np/lens/attribution.py`: `attribution_view` |
# | what excites a neuron | `nanogpt_np/lens/residual.py`: `neuron_texts`, `neurons` |
# | the pass that all this repeats, to the bit | `nanogpt_np/model.py`: `block` |
