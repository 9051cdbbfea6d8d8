/** What the router of a model with experts does: each expert's share of the tokens, at low and at high noise. */

export interface Experts {
  low: number[];
  high: number[];
  /** 1 is even use; as many as there are experts, one for all. */
  balance: number | null;
}

const SHARE = /^expert_(\d+)_(low|high)_noise$/;

/** The shares among a worker's own numbers; null where there are none. */
export function expertsOf(custom: Record<string, number> = {}): Experts | null {
  const found: Experts = { low: [], high: [], balance: custom.balance ?? null };
  for (const [name, share] of Object.entries(custom)) {
    const [, at, side] = SHARE.exec(name) ?? [];
    if (side === "low" || side === "high") found[side][Number(at)] = share;
  }
  return found.low.length || found.high.length ? found : null;
}

/** Which expert has most at each noise level, in a sentence: the verdict above the picture. */
export function busiest({ low, high }: Experts): string {
  const most = (shares: number[]): string => {
    const top = Math.max(...shares);
    return `expert ${shares.indexOf(top) + 1} (${percent(top)} %)`;
  };
  if (!low.length) return `High noise goes most to ${most(high)}`;
  if (!high.length) return `Low noise goes most to ${most(low)}`;
  return `Low noise goes most to ${most(low)}, high noise to ${most(high)}`;
}

export const percent = (share: number): number => Math.round(share * 100);
