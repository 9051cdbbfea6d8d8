import type { Schemas } from "../../lib/api";

const VERDICTS = ["too_few", "enough", "recommended", "flagship"] as const;

/** How far the rows go, from the facts of a plan's data tile. */
export function needOf(facts: Record<string, unknown>): Schemas["Sufficiency"] {
  const rows = (name: string): number | null => (typeof facts[name] === "number" ? facts[name] : null);
  const tier = VERDICTS.find((name) => name === facts.verdict) ?? "unknown";
  return { have: rows("have") ?? 0, need: rows("need"), recommended: rows("recommended"), flagship: rows("flagship"), tier, sentence: "" };
}
