import { type FormEvent, useState } from "react";
import type { Schemas } from "../../lib/api";
import { Button } from "../../ui/Button";
import { Select, TextArea, TextField } from "../../ui/Field";

type Choices = Pick<Schemas["Choices"], "judge" | "principles" | "rollouts">;
type Facts = Record<string, unknown>;

const FIELDS = [
  { name: "model", label: "Model", hint: "as its endpoint calls it", type: "text" },
  { name: "url", label: "Address", hint: "such as http://127.0.0.1:8000/v1", type: "text" },
  { name: "keyEnv", label: "Variable with its key", hint: "JUDGE_…, set where the server runs; never the key itself", type: "text" },
  { name: "maxTokens", label: "Longest answer", hint: "in tokens, thinking included", type: "number" },
  { name: "inputUsdPerMillion", label: "Dollars a million tokens in", hint: "if the catalogue does not know", type: "number" },
  { name: "outputUsdPerMillion", label: "Dollars a million tokens out", hint: "0 if asking is free", type: "number" },
] as const;
const GIVEN = "as you said";
const MOST_TEXT = 32 * 500;

export type Typed = Record<(typeof FIELDS)[number]["name"], string> & { who: "own" | "endpoint"; lines: string; rollouts: string };

const list = (value: unknown): string[] => (Array.isArray(value) ? value.map(String) : []);

/** What of judge, principles and rollouts the plan's method has a use for, as its tile says. */
export const takenBy = (facts: Facts): string[] => list(facts.takes);

/** The plan's choices as they stand in the form. Prices that nobody typed are left to the catalogue. */
export function typedOf({ judge, principles, rollouts }: Choices): Typed {
  const price = (value: number | undefined) => (judge?.priceSource === GIVEN && value != null ? String(value) : "");
  return {
    who: judge ? "endpoint" : "own", model: judge?.model ?? "", url: judge?.url ?? "", keyEnv: judge?.keyEnv ?? "", maxTokens: judge ? String(judge.maxTokens) : "",
    inputUsdPerMillion: price(judge?.inputUsdPerMillion), outputUsdPerMillion: price(judge?.outputUsdPerMillion), lines: (principles ?? []).join("\n"), rollouts: rollouts ?? "transformers",
  };
}

/** What the tile is told: only what was changed. */
export function changedOf(start: Typed, now: Typed): Record<string, unknown> {
  const judge = now.who === "own" ? null : Object.fromEntries(FIELDS.map(({ name }) => [name, now[name].trim()]).filter(([, text]) => text !== ""));
  const other = now.who !== start.who || (judge !== null && FIELDS.some(({ name }) => now[name].trim() !== start[name]));
  return {
    ...(other && { judge }), ...(now.lines !== start.lines && { principles: now.lines.split("\n") }), ...(now.rollouts !== start.rollouts && { rollouts: now.rollouts }),
  };
}

/** Who judges answers, by which principles, and what samples them. */
export function Judging({ choices, facts, busy, onSave }: { choices: Choices; facts: Facts; busy: boolean; onSave: (changed: Record<string, unknown>) => void }) {
  const [start] = useState(() => typedOf(choices));
  const [now, setNow] = useState(start);
  const taken = takenBy(facts);
  const changed = changedOf(start, now);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (Object.keys(changed).length) onSave(changed);
  };
  const known = list(facts.judges).includes(now.model.trim());
  return (
    <form onSubmit={submit} className="grid gap-4">
      {taken.includes("judge") && (
        <div className="grid gap-3 sm:grid-cols-2 lg:grid-cols-3">
          <Select label="Who judges" value={now.who} onChange={(event) => setNow({ ...now, who: event.target.value === "own" ? "own" : "endpoint" })} hint={`Known without address: ${list(facts.judges).join(", ")}.`}>
            <option value="own">The model itself, as it is before it learns</option>
            <option value="endpoint">A model behind an endpoint</option>
          </Select>
          {now.who === "endpoint" && FIELDS.map((field) => (
            <TextField
              key={field.name} label={field.label} hint={field.hint} type={field.type} {...(field.type === "number" && { min: 0, step: "any" })} autoComplete="off" maxLength={300}
              required={field.name === "model" || (field.name === "url" && !known)} value={now[field.name]} onChange={(event) => setNow({ ...now, [field.name]: event.target.value })}
            />
          ))}
        </div>
      )}
      {taken.includes("principles") && (
        <TextArea
          label="Principles, one a line" value={now.lines} maxLength={MOST_TEXT} hint={`Sentences, or names: ${list(facts.constitutions).join(", ")}. None: all of the catalogue.`}
          onChange={(event) => setNow({ ...now, lines: event.target.value })}
        />
      )}
      {taken.includes("rollouts") && (
        <Select label="Answers are sampled by" value={now.rollouts} onChange={(event) => setNow({ ...now, rollouts: event.target.value })} hint="vLLM needs a GPU, a LoRA and an environment of its own.">
          <option value="transformers">transformers, in the run itself</option>
          <option value="vllm">vLLM, beside the run</option>
        </Select>
      )}
      <div className="flex flex-wrap gap-3">
        <Button type="submit" look="primary" busy={busy} disabled={!Object.keys(changed).length}>Use these</Button>
        <Button look="quiet" disabled={!Object.keys(changed).length} onClick={() => setNow(start)}>Keep as it is</Button>
      </div>
    </form>
  );
}
