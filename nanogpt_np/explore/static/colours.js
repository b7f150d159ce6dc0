// Colours with one meaning each, read from colours.css, where they have the names of lens/style.py. Enters: a number
// and the map it is coloured by. Leaves: [red, green, blue]. Light and dark have the same hues; 0 is the paper in
// both. Next: matrix.js.

const STOPS = 5;
let maps = null;

export function forget_colours() {
  maps = null;
}

// "rgb(…)", of the theme that is on: a variable by itself would still hold both of light-dark().
export function css(name) {
  const probe = document.createElement("i");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}

function rgb(name) {
  return css(name).match(/[\d.]+/g).slice(0, 3).map(Number);
}

function read() {
  const stops = (name) => Array.from({ length: STOPS }, (_, i) => rgb(`${name}-${i}`));
  maps = { probability: table(stops("probability")), signed: table(stops("signed")), empty: rgb("masked") };
}

// 256 colours between the stops, so that a picture of many cells costs a look-up each.
function table(stops) {
  return Array.from({ length: 256 }, (_, i) => {
    const along = (i / 255) * (stops.length - 1);
    const left = Math.min(Math.floor(along), stops.length - 2);
    return stops[left].map((from, channel) => Math.round(from + (along - left) * (stops[left + 1][channel] - from)));
  });
}

// colour_of(0.5, "probability", 1); signed maps go from -limit to limit, the others from 0 to limit.
export function colour_of(value, kind, limit) {
  if (!maps) read();
  if (!Number.isFinite(value)) return maps.empty;
  const share = kind === "signed" ? 0.5 + value / (2 * limit) : value / limit;
  const stop = Math.round(255 * Math.min(Math.max(limit > 0 ? share : kind === "signed" ? 0.5 : 0, 0), 1));
  return maps[kind === "signed" ? "signed" : "probability"][stop];
}

export function as_css([red, green, blue]) {
  return `rgb(${red}, ${green}, ${blue})`;
}

// Black or white, whichever is further from a colour by WCAG's contrast.
export function ink_on(colour) {
  const [red, green, blue] = colour.map((c) =>
    c / 255 <= 0.04045 ? c / 3294.6 : ((c / 255 + 0.055) / 1.055) ** 2.4,
  );
  const light = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  return (light + 0.05) / 0.05 > 1.05 / (light + 0.05) ? "#000000" : "#ffffff";
}
