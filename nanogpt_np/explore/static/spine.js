// The residual stream as a band: as wide as it is long, with attention's addition (violet) and the feed-forward network's
// (red-brown) joining it. Enters: shares of the widest, 0 to 1. Leaves: an SVG. Next: cell.js.

import { svg } from "./dom.js";

const HEIGHT = 100, MIDDLE = 26, MOST = 26; // units of the drawing; the width of a band of length 1

export function spine(before, after, added, is_backward) {
  const band = [-0.5, 0.5].map((side) => [MIDDLE + side * Math.max(MOST * before, 1), MIDDLE + side * Math.max(MOST * after, 1)]);
  const [[left_top, left_end], [right_top, right_end]] = band;
  const stream = svg("path", {
    class: "band", d: `M${left_top} 0 C${left_top} 50 ${left_end} 50 ${left_end} ${HEIGHT} L${right_end} ${HEIGHT} C${right_end} 50 ${right_top} 50 ${right_top} 0 Z`,
  });
  const joins = added ? [joint(added.attention, 24, "attention"), joint(added.ffn, 70, "ffn")] : [];
  const arrow = svg("path", { class: "way", d: is_backward ? "M22 56 L26 48 L30 56" : "M22 48 L26 56 L30 48" });
  return svg("svg", { viewBox: `0 0 60 ${HEIGHT}`, preserveAspectRatio: "none", class: "spine", "aria-hidden": "true" }, stream, ...joins, arrow);
}

function joint(share, y, name) {
  return svg("path", { class: `joint ${name}`, d: `M60 ${y} C44 ${y} 40 ${y + 16} ${MIDDLE} ${y + 18}`, "stroke-width": Math.max(1, 11 * share) });
}
