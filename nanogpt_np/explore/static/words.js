// Every word on the page, in English and Chinese. Enters: a key. Leaves: the text in the language that is spoken. Both languages
// stand in one line of the tables, and a test counts them. Next: words_labels.js, words_text.js, words_tour.js.

import { LABELS } from "./words_labels.js";
import { TEXTS } from "./words_text.js";
import { TOUR } from "./words_tour.js";

export const WORDS = { ...LABELS, ...TEXTS, ...TOUR }; // key: [English, 中文]
export const LANGUAGES = ["en", "zh"];

let spoken = 0;

export function speak(language) {
  spoken = Math.max(LANGUAGES.indexOf(language), 0);
}

export function word(key) {
  const found = WORDS[key];
  if (!found) throw new Error(`no word for ${key}`);
  return found[spoken];
}
