import { type FormEvent, useState } from "react";
import type { Schemas } from "../../lib/api";
import { Button } from "../../ui/Button";
import { Select, TextField } from "../../ui/Field";

type Values = Pick<Schemas["StageSettings"], "epochs" | "microBatch" | "accumulation" | "learningRate" | "maxSeqLen" | "schedule"> & { rank: number };

const FIELDS: { name: Exclude<keyof Values, "schedule">; label: string; hint: string; min: number; step: string }[] = [
  { name: "epochs", label: "Epochs", hint: "passes over the rows", min: 0.01, step: "any" },
  { name: "learningRate", label: "Learning rate", hint: "how far each step moves", min: 0, step: "any" },
  { name: "microBatch", label: "Batch", hint: "rows at a time", min: 1, step: "1" },
  { name: "accumulation", label: "Accumulation", hint: "batches per step", min: 1, step: "1" },
  { name: "maxSeqLen", label: "Longest row", hint: "in tokens", min: 8, step: "1" },
  { name: "rank", label: "LoRA rank", hint: "size of the added weights", min: 1, step: "1" },
];

/** The advanced edit of the recipe. Only what was changed is sent, so the rest stays recommended. */
export function Settings({ settings, busy, onSave }: { settings: Schemas["StageSettings"]; busy: boolean; onSave: (changed: Record<string, unknown>) => void }) {
  const start: Values = { ...settings, rank: settings.lora.rank };
  const [values, setValues] = useState<Values>(start);
  const changed = Object.fromEntries(
    [...FIELDS.map((field) => field.name), "schedule" as const].filter((name) => values[name] !== start[name]).map((name) => [name === "rank" ? "lora.rank" : name, values[name]]),
  );
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (Object.keys(changed).length) onSave(changed);
  };
  return (
    <form onSubmit={submit} className="grid gap-4">
      <div className="grid gap-3 sm:grid-cols-2 lg:grid-cols-4">
        {FIELDS.map((field) => (
          <TextField
            key={field.name} label={field.label} hint={field.hint} type="number" min={field.min} step={field.step} required
            value={Number.isFinite(values[field.name]) ? values[field.name] : ""} onChange={(event) => setValues({ ...values, [field.name]: event.target.valueAsNumber })}
          />
        ))}
        <Select label="Schedule" hint="how the rate falls" value={values.schedule} onChange={(event) => setValues({ ...values, schedule: event.target.value as Values["schedule"] })}>
          <option value="cosine">cosine</option><option value="linear">linear</option><option value="constant">constant</option>
        </Select>
      </div>
      <div className="flex flex-wrap gap-3">
        <Button type="submit" look="primary" busy={busy} disabled={!Object.keys(changed).length}>Use these</Button>
        <Button look="quiet" disabled={!Object.keys(changed).length} onClick={() => setValues(start)}>Keep the recommended ones</Button>
      </div>
    </form>
  );
}
