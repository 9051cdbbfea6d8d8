import { sentence } from "../../lib/format";

const UNITS: [RegExp, string][] = [[/Gb$/, " GB"], [/Usd$/, ""], [/Hours$/, " h"], [/B$/, " B"]];
const WORDS: Record<string, string> = { lr: "learning rate", vram: "memory" };

/** "pricePerHourUsd" → "Price per hour". */
export function factName(key: string): string {
  const bare = key.replace(/(Usd|Gb|Hours)$/, "") || key;
  const text = bare.replace(/([a-z0-9])([A-Z])/g, "$1_$2").toLowerCase();
  return sentence(WORDS[text] ?? text);
}

function show(key: string, value: unknown): string {
  if (value === null || value === undefined || value === "") return "";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") {
    const unit = UNITS.find(([ending]) => ending.test(key))?.[1] ?? "";
    const text = Math.abs(value) > 0 && Math.abs(value) < 0.001 ? value.toExponential(1) : value.toLocaleString("en-US", { maximumFractionDigits: 4 });
    return key.endsWith("Usd") ? `$${text}` : `${text}${unit}`;
  }
  if (Array.isArray(value)) return value.every((item) => typeof item !== "object") ? value.join(", ") : "";
  return typeof value === "object" ? "" : String(value);
}

/** The simple facts of a tile as rows of name and value. */
export function factRows(facts: Record<string, unknown>): [string, string][] {
  return Object.entries(facts).map(([key, value]): [string, string] => [factName(key), show(key, value)]).filter(([, value]) => value !== "");
}

/** A value before or after an edit, in few words. */
export function valueText(value: unknown): string {
  if (value === null || value === undefined || value === "") return "none";
  if (typeof value === "number") return value.toLocaleString("en-US", { maximumFractionDigits: 6 });
  if (Array.isArray(value)) return value.map(valueText).join(" – ");
  if (typeof value === "object") return Object.entries(value).map(([key, part]) => `${factName(key)} ${valueText(part)}`).join(", ");
  return String(value);
}
