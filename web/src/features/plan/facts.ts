import { hours, money, sentence, words } from "../../lib/format";

const UNITS: [RegExp, string][] = [[/Gb$/, " GB"], [/Usd$/, ""], [/Hours$/, " h"], [/B$/, " B"]];
const WORDS: Record<string, string> = { lr: "learning rate", vram: "memory", lora: "rank", params: "size" };
const NAMES: Record<string, string> = { parquet: "Parquet", txt: "text", text: "text" };

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

type Facts = Record<string, unknown>;
type Rows = [string, unknown][];

const object = (value: unknown): Facts => (typeof value === "object" && value !== null ? (value as Facts) : {});

/** Which facts of a tile a person wants to see, in order. What is not named here stays in the tile's own sentences. */
const SHOWN: Record<string, (facts: Facts) => Rows> = {
  model: (f) => [
    ["Size", typeof f.paramsB === "number" ? (f.paramsB < 1 ? `${Math.round(f.paramsB * 1000)} M` : `${f.paramsB} B`) : ""], ["Licence", f.licence],
    ["Commercial use", f.commercial], ["Terms to accept", f.gated ? "yes, on its hub" : ""], ["Strong at", f.strengths], ["Weak at", typeof f.weaknesses === "string" || Array.isArray(f.weaknesses) ? String(show("", f.weaknesses)).replace(/^weak at /, "") : ""],
  ],
  method: (f) => [["Ruled out by you", f.excluded]],
  data: (f) => [["Licence", f.licence], ["Formats", Array.isArray(f.formats) ? f.formats.map((name) => NAMES[String(name)] ?? String(name).toUpperCase()).join(", ") : ""], ["Quality", f.quality]],
  gpu: (f) => [
    ["Needs", typeof f.needGb === "number" ? `about ${f.needGb.toFixed(f.needGb < 10 ? 1 : 0)} GB` : ""], ["Has", typeof f.vramGb === "number" && f.vramGb ? `${f.vramGb.toFixed(0)} GB` : ""],
    ["Price", typeof f.pricePerHour === "number" ? `$${f.pricePerHour.toFixed(2)} per hour` : ""], ["Provider", f.provider], ["Fits", f.fits === false ? "no" : "yes"], ["Price from", f.priceSource],
  ],
  config: (f) => [
    ["Epochs", f.maxSteps ? "" : f.epochs], ["Steps", f.maxSteps], ["Learning rate", f.learningRate], ["Rows per step", f.effectiveBatch], ["Longest row", `${String(f.maxSeqLen)} tokens`],
    ["LoRA rank", object(f.lora).rank], ["Schedule", f.schedule], ["Warm-up", typeof f.warmupRatio === "number" && f.warmupRatio ? `${Math.round(f.warmupRatio * 100)} % of steps` : ""], ["Changed by you", Array.isArray(f.custom) ? f.custom.map((name) => factName(String(name)).toLowerCase()).join(", ") : ""],
  ],
};

/** The facts of a tile as rows of name and value. */
export function factRows(category: string, facts: Facts): [string, string][] {
  return (SHOWN[category]?.(facts) ?? []).map(([name, value]): [string, string] => [name, show(name, value)]).filter(([, value]) => value !== "" && value !== "undefined tokens");
}

/** How what an edit moved is written; the server names hours, dollars, gigabytes and billions by these. */
const WRITTEN: Record<string, (value: number) => string> = {
  time: hours, cost: money, budget_max_usd: money, params: (value) => (value < 1 ? `${Math.round(value * 1000)} M` : `${value} B`),
  vram: (value) => `${value.toFixed(value < 10 ? 1 : 0)} GB`, notify_at_percent: (value) => `${value} %`, freeze_at_percent: (value) => `${value} %`,
  learning_rate: (value) => value.toExponential(1), data_amount: (value) => `${value.toLocaleString("en-US")} rows`,
};

/** A value before or after an edit, in few words and with its unit. */
export function valueText(param: string, value: unknown): string {
  if (value === null || value === undefined || value === "") return "none";
  if (typeof value === "number") return WRITTEN[param]?.(value) ?? value.toLocaleString("en-US", { maximumFractionDigits: 6 });
  if (Array.isArray(value)) return value.map((item) => valueText(param, item)).join(" – ");
  if (typeof value === "object") return Object.entries(value).map(([key, part]) => `${factName(key)} ${valueText(key, part)}`).join(", ");
  return typeof value === "string" ? words(value) : JSON.stringify(value);
}
