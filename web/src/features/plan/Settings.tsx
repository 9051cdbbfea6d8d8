import { type FormEvent, useState } from "react";
import type { Schemas } from "../../lib/api";
import { Button } from "../../ui/Button";
import { TextField } from "../../ui/Field";

const FIELDS = [
  { name: "epochs", label: "Epochs", hint: "passes over the rows", min: 0.01, step: "any" },
  { name: "learningRate", label: "Learning rate", hint: "how far each step moves", min: 0, step: "any" },
  { name: "batchSize", label: "Rows per step", hint: "seen before each update", min: 1, step: "1" },
  { name: "maxSeqLen", label: "Longest row", hint: "in tokens", min: 8, step: "1" },
  { name: "rank", label: "LoRA rank", hint: "size of the added weights", min: 1, step: "1" },
  { name: "warmupRatio", label: "Warm-up", hint: "share of steps, 0 to 1", min: 0, step: "any" },
  { name: "weightDecay", label: "Weight decay", hint: "pull towards zero", min: 0, step: "any" },
] as const;

const TEXTS = [
  { name: "instancePrompt", key: "instance_prompt", label: "Prompt of the subject", hint: "for pictures without a caption" },
  { name: "classPrompt", key: "class_prompt", label: "Prompt of its class", hint: "what the model must not forget: a photo of a dog" },
] as const;
const MOST_PROMPT = 200;

type Values = Record<(typeof FIELDS)[number]["name"], number>;

/** The advanced edit of the recipe. Only what was changed is sent, so the rest stays recommended. */
export function Settings({ settings, busy, onSave }: { settings: Schemas["StageSettings"]; busy: boolean; onSave: (changed: Record<string, unknown>) => void }) {
  const { epochs, learningRate, maxSeqLen, warmupRatio, weightDecay } = settings;
  const start: Values = { epochs, learningRate, maxSeqLen, warmupRatio, weightDecay, rank: settings.lora.rank, batchSize: settings.microBatch * settings.accumulation };
  const [values, setValues] = useState<Values>(start);
  const texts = TEXTS.filter((field) => typeof settings.objective?.[field.key] === "string");
  const told: Record<string, string> = Object.fromEntries(texts.map((field) => [field.name, String(settings.objective?.[field.key])]));
  const [typed, setTyped] = useState(told);
  const changed = {
    ...Object.fromEntries(FIELDS.map((field) => field.name).filter((name) => values[name] !== start[name]).map((name) => [name, values[name]])),
    ...Object.fromEntries(Object.entries(typed).filter(([name, text]) => text !== told[name])),
  };
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
      </div>
      {texts.length > 0 && (
        <div className="grid gap-3 sm:grid-cols-2">
          {texts.map((field) => (
            <TextField
              key={field.name} label={field.label} hint={field.hint} required pattern=".*\S.*" maxLength={MOST_PROMPT}
              value={typed[field.name] ?? ""} onChange={(event) => setTyped({ ...typed, [field.name]: event.target.value })}
            />
          ))}
        </div>
      )}
      <div className="flex flex-wrap gap-3">
        <Button type="submit" look="primary" busy={busy} disabled={!Object.keys(changed).length}>Use these</Button>
        <Button look="quiet" disabled={!Object.keys(changed).length} onClick={() => {
          setValues(start);
          setTyped(told);
        }}>Keep the recommended ones</Button>
      </div>
    </form>
  );
}
