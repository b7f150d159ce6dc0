// The guided tour; {0}, {1} … are numbers and tokens of the page. key: [English, 中文]. The last room of words.

export const TOUR = {
  tour_end: ["End the tour", "结束导览"],
  tour_show: ["Show me", "带我去看"],
  tour_tokens: ["Text becomes numbers", "文字变成数"],
  tour_tokens_text: [
    "A model never sees letters. Your prompt is {0} tokens here; the first is {1}, number {2} in the vocabulary. That number picks a row of {3} learned numbers, and a second row says where the token stands.",
    "模型看不到字母。你的提示在这里是 {0} 个词元；第一个是 {1}，在词表中的编号是 {2}。这个编号取出一行 {3} 个学到的数，另一行说明它的位置。"],
  tour_stream: ["A river that everyone writes into", "人人都往里写的河流"],
  tour_stream_text: [
    "From there on, every block only adds. The grey band on the left is this residual stream: its length goes from {0} to {1}. Nothing is ever overwritten, so whatever a block writes, all later ones can read.",
    "从这里开始，每一块只做加法。左边的灰带就是残差流：它的长度从 {0} 变到 {1}。没有任何东西被覆盖，所以一块写下的，之后的都能读到。"],
  tour_heads: ["Heads look back", "注意力头向后看"],
  tour_heads_text: [
    "Attention is the only place where tokens meet. Each head has a habit: {0} gives {1} of its attention to the token just before. Find it in the map: a bright line beside the diagonal.",
    "词元只在注意力中相遇。每个头都有自己的习惯：{0} 把 {1} 的注意力给了前一个词元。在图中找到它：紧贴对角线的一条亮线。"],
  tour_score: ["One score is one sum", "一个得分就是一个和"],
  tour_score_text: [
    "Why does {0} look at {1}? Its query and the other's key are {2} numbers each; multiplied pair by pair and added up they give the score. Below the matrix stands that sum; each factor leads further back.",
    "为什么 {0} 会看 {1}？它的查询和对方的键各有 {2} 个数，逐对相乘再相加，就是得分。矩阵下面就是这个和；每个因子都可以继续追溯。"],
  tour_ffn: ["Each token by itself", "每个词元各自思考"],
  tour_ffn_text: [
    "Then the feed-forward network: {0} units, each a weighted sum that is bent. In {1} {2} of them are above 0 for this token. Here sits most of what the model knows.",
    "然后是前馈网络：{0} 个单元，每个是一个经过激活的加权和。在 {1}，这个词元使其中 {2} 大于 0。模型的大部分知识在这里。"],
  tour_lens: ["What would it say, stopped early?", "若提前停下，它会说什么？"],
  tour_lens_text: [
    "Read the stream as if the model ended at once, and it says {0} ({1}). At the end it says {2} ({3}). In between you can watch it make up its mind.",
    "若在最开始就停下来读残差流，它会说 {0}（{1}）。到最后它说 {2}（{3}）。在两者之间，可以看到它怎样拿定主意。"],
  tour_attribution: ["Who wrote the answer?", "答案是谁写的？"],
  tour_attribution_text: [
    "Because the stream is a sum, so is the logit of {0}: {1}. The parts add up to {2}. Blue cells spoke against it, red ones for it.",
    "因为残差流是一个和，{0} 的 logit 也是：{1}。各部分加起来是 {2}。蓝色的格子反对它，红色的支持它。"],
  tour_sampling: ["Then dice are thrown", "然后掷骰子"],
  tour_sampling_text: [
    "Out come {0} logits, one for each token; {1} has {2}. Move the sliders: they decide who may still be drawn, and below stands what each of them removed.",
    "得到 {0} 个 logit，每个词元一个；{1} 有 {2}。移动滑块：它们决定谁还能被抽中，下面写着每一步去掉了什么。"],
  tour_cache: ["Nothing is computed twice", "什么都不算第二遍"],
  tour_cache_text: [
    "Keys and values of old tokens do not change, so they are kept. This step took {0} operations; without the cache it would have been {1}.",
    "旧词元的键和值不会改变，所以保留下来。这一步用了 {0} 次运算；没有缓存则要 {1} 次。"],
  tour_backward: ["The same picture backwards", "同一张图，反过来看"],
  tour_backward_text: [
    "How does it learn? The loss of this text is {0} nats. The chain rule sends it back along the same stream, and at the bottom the gradient is {1} long: that is how every weight finds out which way to move.",
    "它怎样学习？这段文本的损失是 {0} nat。链式法则把它沿同一条残差流送回去，在最底部梯度长 {1}：每个权重由此得知该往哪边动。"],
};
