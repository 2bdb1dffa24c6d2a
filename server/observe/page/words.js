// The words of reasons and stages: those of the terminal and of the report (words.json comes from the server).

const STAGES = {
  advertising: "keys come in", dealing: "shares are dealt", masking: "clients train and upload",
  sketching: "sketches come in", judging: "verdicts", agreeing: "the accepted sets are signed",
  unmasking: "the sum is unmasked", done: "the sum is checked",
};
export const STAGE_NAMES = Object.keys(STAGES).slice(1);
let words = { reasons: {}, free_riding: {}, seen: {} };

export async function learn() {
  const answer = await fetch("words.json", { credentials: "omit" });
  if (answer.ok) words = await answer.json();
}

const of = (table, word) => Object.hasOwn(table, word) ? table[word] : word;
export const reason = (word) => of(words.reasons, word);
export const riding = (word) => of(words.free_riding, word);
export const seen = (word) => of(words.seen, word);
export const stage = (word) => of(STAGES, word);
