// Sentences: what a view says about itself, what went wrong. key: [English, 中文]. Next: words_tour.js.

export const TEXTS = {
  server_gone: [
    "The server does not answer: it was stopped, or is not reachable. Start `nanogpt-np explore` again, then try again.",
    "服务器没有回应：它已停止或无法访问。请重新运行 `nanogpt-np explore`，然后重试。",
  ],
  not_in_this_file: [
    "This is not in this file, which holds one prompt; run `nanogpt-np explore` to ask for anything.",
    "这个文件只含一个提示，没有这一项；运行 `nanogpt-np explore` 可以任意查看。",
  ],
  from_a_file: [
    "A page saved to one file; the prompt is fixed, everything else works.",
    "这是保存成一个文件的页面；提示是固定的，其余都可用。",
  ],
  training_lead: [
    "Each row of the run's log: thin and grey the loss of single batches, thick and red-brown the loss on text that it never learns from. Arrow keys go from row to row.",
    "训练日志的每一行：灰色细线是单个批次的损失，红褐色粗线是从不用来学习的文本上的损失。方向键逐行移动。",
  ],
  no_run: [
    "This model is not the folder of a training run that has a log; train one, and open its folder: `nanogpt-np explore runs/mine`. The curves then grow while it trains.",
    "这个模型不是带有日志的训练文件夹；训练一个模型，再打开它的文件夹：`nanogpt-np explore runs/mine`。曲线会随着训练增长。",
  ],
  nothing_logged: ["The run has logged nothing yet.", "这次训练还没有写下日志。"],
  saved_again: [
    "a newer checkpoint was saved, and everything is drawn with it.",
    "保存了更新的检查点，全部内容已用它重新绘制。",
  ],
  log_stands_at: ["Its log stands at step", "日志已到步"],
  checked: ["Every number on this page is checked.", "本页的每一个数都经过核对。"],
  checked_how: [
    "The project's tests open it in Chromium, click, slide and scrub, read the numbers back and assert each against NumPy.",
    "项目的测试在 Chromium 中打开本页，点击、拖动、回放，把数读回来，逐一与 NumPy 的结果断言相等。",
  ],
  colours_note: [
    "Colours mean the same everywhere in this project; probability goes from paper to one strong hue, signed numbers to both sides of it.",
    "颜色在整个项目中含义相同；概率从底色到一种深色，带符号的数向两侧变化。",
  ],
  keys_note: [
    "Keyboard: Tab from part to part; arrows inside a matrix, the tokens and the sliders; Enter takes a cell apart; x switches a head or an FFN off, X a block's attention.",
    "键盘：Tab 在各部分间移动；方向键在矩阵、词元、滑块中移动；回车拆开一个数；x 关闭一个头或前馈网络，X 关闭一块的注意力。",
  ],
  matrix_keys: [
    "Arrow keys go from cell to cell, Enter takes a number apart.",
    "方向键在格子间移动，回车拆开一个数。",
  ],
  map_note: [
    "From top to bottom: the stream of one token (grey, as wide as it is long), what attention (violet) and the FFN (red-brown) add, " +
      "every head's pattern, and on the right what the model would say if it stopped there. Seen from",
    "自上而下：一个词元的残差流（灰色，宽度即长度），注意力（紫色）和前馈网络（红褐色）所加的部分，每个头的注意力图，右侧是模型若在此停下会说什么。所看的是",
  ],
  map_backward_note: [
    "The same picture backwards: the band is as wide as the gradient of the text's loss is long; attention (violet) and the FFN (red-brown) add to it on its way up. " +
      "Small pictures and bars: gradient times value, what each look back, each head and each FFN does to the loss, to first order: red raises it, blue lowers it. Seen from",
    "同一张图反过来看：带子的宽度是文本损失的梯度长度；注意力（紫色）和前馈网络（红褐色）在它向上返回时加入。" +
      "小图和条形是梯度乘以数值：每次回看、每个头、每个前馈网络对损失的一阶作用，红色使损失升高，蓝色使损失降低。所看的是",
  ],
  stands_at_prompt: [
    "This file has no room for the model's picture at this step: it stands at the prompt.",
    "这个文件放不下这一步的模型图：图停在提示处。",
  ],
  guess_note: ["what the model would say if it stopped here", "模型若在此停下会说什么"],
  ffn_share: ["share of the hidden units above 0", "大于 0 的隐藏单元所占比例"],
  cell_hint: [
    "Point at a cell, or go to it with the arrow keys: here stands the sum that made it, and each factor leads to where it came from.",
    "指向一个格子，或用方向键移到它：这里显示得出它的算式，每个因子都可以继续追溯。",
  ],
  kind_lookup: ["A number that was there already, under another name.", "已经存在的数，换了一个名字。"],
  kind_sum: ["The sum of two numbers.", "两个数之和。"],
  kind_dot: ["A sum of products; the largest first.", "乘积之和；最大的排在前面。"],
  kind_scale: ["The score, divided by the square root of d_head.", "得分除以 d_head 的平方根。"],
  kind_mask: ["What comes later is hidden: minus infinity.", "之后的内容被遮住：负无穷。"],
  kind_softmax: ["exp of the number, less the largest, over the sum of all.", "减去最大值后取 exp，再除以总和。"],
  kind_layer_norm: [
    "Less the mean, over the standard deviation, scaled and shifted.",
    "减去均值，除以标准差，再缩放并平移。",
  ],
  kind_activation: ["The bend of the feed-forward network.", "前馈网络的激活函数。"],
  kind_gradient: ["By how much the loss grows with this number.", "这个数每增大一点，损失增大多少。"],
  embed_lead: [
    "Text is cut into chunks, and bytes are merged, pair by pair, into tokens. Open a chunk to see its merges in order.",
    "文本先切成块，再把字节一对一对地合并成词元。展开一个块，可以按顺序看它的合并。",
  ],
  embed_sum: [
    "What the token is (a row of wte) plus where it stands (a row of wpe) is the beginning of its residual stream.",
    "词元是什么（wte 的一行）加上它在哪里（wpe 的一行），就是它的残差流的起点。",
  ],
  stage_qkv: [
    "From its normed stream each token makes three short vectors for this head. A row for each token.",
    "每个词元从归一化后的残差流为这个头算出三个短向量。每个词元一行。",
  ],
  stage_scores: [
    "How well each query (row) agrees with each key (column): a sum of d_head products.",
    "每个查询（行）与每个键（列）有多吻合：d_head 个乘积之和。",
  ],
  stage_scaled: [
    "The same, divided by the square root of d_head, so that softmax does not become all or nothing.",
    "同样的数除以 d_head 的平方根，使 softmax 不至于非此即彼。",
  ],
  stage_masked: [
    "What comes later than the query is set to minus infinity: no token may look ahead.",
    "查询之后的内容设为负无穷：词元不能看后面。",
  ],
  stage_probs: [
    "Softmax makes shares of each row; they sum to 1. This is who looks at whom.",
    "softmax 把每一行变成份额，和为 1。这就是谁看谁。",
  ],
  stage_mixed: [
    "Each token takes the values, mixed by its shares. All heads side by side go through c_proj into the stream.",
    "每个词元按份额混合各个值。所有头并排，经过 c_proj 加入残差流。",
  ],
  about_x: ["What goes in: the stream after ln_2. Seen from", "输入：ln_2 之后的残差流。所看的是"],
  about_pre_gelu: [
    "Four times as wide: each unit is a weighted sum. Seen from",
    "加宽到四倍：每个单元是一个加权和。所看的是",
  ],
  about_hidden: ["Bent: what is below 0 nearly vanishes. Seen from", "经过激活：小于 0 的几乎消失。所看的是"],
  about_ffn_out: ["Narrow again: this is added to the stream. Seen from", "再变窄：这就是加入残差流的部分。所看的是"],
  about_probs: [
    "The stream behind each half-block, read through ln_f and the unembedding as if the model ended there; its best guess and the probability.",
    "每个半块之后的残差流，当作模型到此结束，经过 ln_f 和输出嵌入来读：最佳猜测及其概率。",
  ],
  about_entropy: ["How undecided that reading is, in nats.", "这样读出的分布有多不确定，单位 nat。"],
  about_kl: [
    "How far that reading is from the final one: KL(final ‖ here), in nats.",
    "它与最终分布相差多远：KL(最终 ‖ 此处)，单位 nat。",
  ],
  about_norms: [
    "How long the stream is (Euclidean norm). It grows, as every half-block adds.",
    "残差流有多长（欧几里得范数）。每个半块都在加，所以它增长。",
  ],
  about_added: ["How long that is which each half-block adds.", "每个半块所加的部分有多长。"],
  about_along: [
    "The cosine between what is added and the stream it is added to: 1 strengthens it, −1 takes it away.",
    "所加部分与残差流之间的余弦：1 是加强，−1 是抵消。",
  ],
  attribution_lead: [
    "The stream is a sum, so a logit is one too: this is what each part wrote towards it.",
    "残差流是一个和，所以 logit 也是：这是每一部分为它写了多少。",
  ],
  attribution_note: [
    "The final layer norm is held at the scale that it had. A part says what was written, not what would happen without it: for that, switch a head off.",
    "最后的层归一化保持当时的尺度。这里说的是写了多少，而不是没有它会怎样：要知道后者，请关闭一个头。",
  ],
  next_lead: [
    "One logit for each token of the vocabulary; softmax makes probabilities of them. What comes after",
    "词表中每个词元有一个 logit，softmax 把它们变成概率。接在后面的是",
  ],
  next_caption: [
    "The likeliest tokens: dark what may be drawn now, pale what the model said",
    "最可能的词元：深色是现在可抽的，浅色是模型原本所说",
  ],
  about_temperature: ["divides the logits; 0 takes the likeliest", "除以 logit；0 只取最可能的"],
  about_top_k: ["keeps so many; 0 is off", "只留这么多个；0 为关闭"],
  about_top_p: ["keeps the fewest that hold so much; 1 is off", "留下总和达到此值的最少几个；1 为关闭"],
  about_min_p: [
    "keeps those at least so likely as the best, by share; 0 is off",
    "留下不低于最佳者这一比例的；0 为关闭",
  ],
  sampling_note: [
    "Softmax over these sliders is the only arithmetic that the page does by itself; it is asserted against NumPy too.",
    "这些滑块上的 softmax 是本页唯一自己做的运算；它同样与 NumPy 核对过。",
  ],
  write_lead: [
    "The model writes one token at a time. Go through the steps with the slider above; the whole page shows each of them.",
    "模型一次写一个词元。用上面的滑块逐步查看；整个页面都显示那一步的状态。",
  ],
  cache_note: [
    "A row for each step, a column for each position. Coloured: keys and values that were computed in that step; pale: kept from before, not computed again.",
    "每步一行，每个位置一列。有颜色的是这一步计算的键和值；浅色的是先前保留、没有重算的。",
  ],
  backward_lead: [
    "The loss of this text, sent back through the model by the chain rule: how much it depends on every number on the way.",
    "把这段文本的损失按链式法则送回模型：它对沿途每个数的依赖有多大。",
  ],
  about_mode_heads: [
    "Click heads, a block's whole attention, its FFN: they give 0 instead, and everything behind them is computed again.",
    "点击头、一块的整个注意力或前馈网络：它们改为输出 0，之后的一切重新计算。",
  ],
  units_hint: [
    "Single units are switched off in the FFN view, behind their numbers.",
    "单个单元在前馈网络视图中关闭，按钮在它们的数后面。",
  ],
  about_mode_prompt: [
    "Two texts; where they have as many tokens they are compared place by place.",
    "两段文本；词元数相同时逐个位置比较。",
  ],
  empty_prompt: [
    "An empty text is read from its very beginning: the token <|endoftext|> alone.",
    "空文本从最开头读起：只有词元 <|endoftext|>。",
  ],
  about_mode_model: ["Two models, or two checkpoints of one training run.", "两个模型，或同一次训练的两个检查点。"],
  about_mode_ops: [
    "The same weights as small whole numbers: what rounding changes, and where it enters the stream.",
    "同样的权重存成小整数：舍入改变了什么，从哪里进入残差流。",
  ],
  stream_apart_note: ["length of the difference over the length of the stream", "差的长度与残差流长度之比"],
  no_common_vocabulary: [
    "The two have different vocabularies: their tokens cannot be compared.",
    "两者词表不同，词元无法比较。",
  ],
  not_aligned: [
    "The two have different numbers of tokens: only the next token is compared.",
    "两者词元数不同：只比较下一个词元。",
  ],
};
