// softmax over sliders: the only arithmetic on this page, and a test compares it with generation/sampling.py. Enters: logits
// and four numbers. Leaves: what each stage kept, in the order of the code: temperature, top-k, top-p, min-p. Next: words.js.

// Logits are float32 and stay so through the stages, as in NumPy: a tie there is a tie here. Probabilities are float64.

// Ids from the likeliest to the least likely; of equals the lower id first. It does not depend on the sliders.
export function order_of(logits) {
  return Uint32Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a] || a - b);
}

function softmax(sorted) { // the first is the largest; -Infinity gives 0
  const probs = new Float64Array(sorted.length);
  let total = 0;
  for (let i = 0; i < sorted.length; i++) total += probs[i] = Math.exp(sorted[i] - sorted[0]);
  for (let i = 0; i < sorted.length; i++) probs[i] /= total;
  return probs;
}

// -> [{ name, probs, n_left, mass }], the first is what the model said; `probs` by place in `order`. Each later one lists
// `n_left` (who may still be drawn, always the likeliest ones) and `mass` (what those had in the stage before).
export function stages(logits, order, { temperature, top_k, top_p, min_p }) {
  let values = Float64Array.from(order, (id) => logits[id]);
  let n_left = values.length;
  const found = [{ name: "raw", probs: softmax(values), n_left, mass: 1 }];
  const cut = (name, n) => {
    n_left = Math.min(n, n_left);
    values.fill(-Infinity, n_left);
    const before = found[found.length - 1].probs;
    let mass = 0;
    for (let i = 0; i < n_left; i++) mass += before[i];
    found.push({ name, probs: softmax(values), n_left, mass });
  };
  if (temperature === 0) {
    cut("greedy", 1);
    return found;
  }
  if (temperature !== 1) {
    values = values.map((value) => Math.fround(value / Math.fround(temperature)));
    cut("temperature", n_left);
  }
  if (top_k) cut("top_k", kept_by_top_k(values, top_k));
  if (top_p && top_p < 1) cut("top_p", kept_by_top_p(softmax(values), top_p));
  if (min_p) {
    const least = Math.fround(values[0] + Math.fround(Math.log(min_p)));
    cut("min_p", values.findLastIndex((value) => value >= least) + 1);
  }
  return found;
}

function kept_by_top_k(values, k) { // what ties with the k-th stays
  let n = Math.min(k, values.length);
  while (n < values.length && values[n] === values[n - 1] && values[n] !== -Infinity) n++;
  return n;
}

function kept_by_top_p(probs, p) { // while the better ones together hold less than p
  let before = 0;
  let n = 0;
  while (n < probs.length && before < p) before += probs[n++];
  return n;
}

// Which stage removed the token at this place of the order; null where none did.
export function removed_by(found, at) {
  return found.find((stage) => at >= stage.n_left)?.name ?? null;
}
