/** Which words of two texts they do not share, by the longest common subsequence. */

export interface Piece {
  text: string;
  own: boolean;
}

const MOST_WORDS = 1200;

export function diffWords(a: string, b: string): [Piece[], Piece[]] {
  const [left, right] = [split(a), split(b)];
  if (left.length > MOST_WORDS || right.length > MOST_WORDS) return [[{ text: a, own: false }], [{ text: b, own: false }]];
  const wide = right.length + 1;
  const length = new Uint16Array((left.length + 1) * wide);
  for (let i = left.length - 1; i >= 0; i -= 1) {
    for (let j = right.length - 1; j >= 0; j -= 1) {
      length[i * wide + j] = left[i] === right[j] ? (length[(i + 1) * wide + j + 1] ?? 0) + 1 : Math.max(length[(i + 1) * wide + j] ?? 0, length[i * wide + j + 1] ?? 0);
    }
  }
  const pieces: [Piece[], Piece[]] = [[], []];
  let [i, j] = [0, 0];
  while (i < left.length || j < right.length) {
    if (i < left.length && j < right.length && left[i] === right[j]) {
      add(pieces[0], left[i] ?? "", false);
      add(pieces[1], right[j] ?? "", false);
      i += 1;
      j += 1;
    } else if (j >= right.length || (i < left.length && (length[(i + 1) * wide + j] ?? 0) >= (length[i * wide + j + 1] ?? 0))) {
      add(pieces[0], left[i] ?? "", true);
      i += 1;
    } else {
      add(pieces[1], right[j] ?? "", true);
      j += 1;
    }
  }
  return pieces;
}

const split = (text: string): string[] => text.match(/\s+|[^\s]+/g) ?? [];

function add(pieces: Piece[], text: string, own: boolean): void {
  const last = pieces.at(-1);
  if (last && last.own === own) last.text += text;
  else pieces.push({ text, own });
}
