import type { Better } from "./client";

/** What a key says of the pair that is shown; null for keys that say nothing. */
export function said(key: string): Better | null {
  switch (key.toLowerCase()) {
    case "arrowleft": case "1": case "a": return "a";
    case "arrowright": case "2": case "b": return "b";
    case "arrowdown": case "0": case "t": return "tie";
    case "s": case " ": return "skip";
    default: return null;
  }
}
