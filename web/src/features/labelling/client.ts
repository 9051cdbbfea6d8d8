/** Pairs of answers to compare: a few at a time, and a judgement for each. */
import { API, ApiError, csrfToken, toProblem } from "../../lib/api";

export type Better = "a" | "b" | "tie" | "skip";

export interface Pair {
  index: number;
  prompt: string;
  a: string;
  b: string;
  better?: Better | null;
}

export interface Pairs {
  id: string;
  pairs: Pair[];
  labelled: number;
  total: number;
}

async function ask<T>(path: string, method: string, body?: unknown): Promise<T> {
  const headers: Record<string, string> = { "x-csrf-token": csrfToken() };
  if (body !== undefined) headers["content-type"] = "application/json";
  const answer = await fetch(`${API}/data/preference-pairs/${path}`, { method, headers, ...(body !== undefined && { body: JSON.stringify(body) }) });
  const said: unknown = await answer.json().catch(() => null);
  if (!answer.ok) throw new ApiError(toProblem(said, answer.status));
  return said as T;
}

/** The pairs that nobody judged yet, in order. */
export const openPairs = (id: string) => ask<Pairs>(`${id}/annotations?open=true&limit=20`, "GET");
/** Judges one pair; answers how far the set is. */
export const judge = (id: string, index: number, better: Better) => ask<Pairs>(`${id}/annotations`, "PUT", { labels: [{ index, better }] });
/** Makes a data set of the judgements so far. */
export const finish = (id: string) => ask<{ datasetId?: string | null; labelled: number }>(`${id}/dataset`, "POST");
