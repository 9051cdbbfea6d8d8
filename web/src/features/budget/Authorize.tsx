import { useState } from "react";
import type { Schemas } from "../../lib/api";
import { money } from "../../lib/format";
import { Badge } from "../../ui/Badge";
import { Button } from "../../ui/Button";
import { Check, Slider, TextField } from "../../ui/Field";
import { Bar } from "../../ui/Progress";

export type Authorization = Schemas["BudgetAuthorization"];

const CHANNELS: { id: Authorization["notificationChannels"][number]; label: string; hint?: string }[] = [
  { id: "in_app", label: "In this page" },
  { id: "email", label: "E-mail", hint: "with a mail account" },
  { id: "sms", label: "SMS", hint: "with an SMS account" },
];

/** A slider's ends and step that suit what the plan is expected to cost. */
export function sliderRange(expected: number, budget: number): { min: number; max: number; step: number } {
  const top = Math.max(expected * 3, budget * 1.5, 1);
  const size = 10 ** Math.floor(Math.log10(top));
  const max = Math.ceil(top / size) * size;
  const step = Number((max / 200).toPrecision(1));
  return { min: step, max, step };
}

export function problems(value: Authorization): Partial<Record<"budget" | "alert" | "freeze", string>> {
  return {
    ...(!(value.maxBudget > 0) && { budget: "The budget must be above zero." }),
    ...(!(value.notifyAtPercent > 0) && { alert: "The alert must be above 0 %." }),
    ...(value.notifyAtPercent >= value.freezeAtPercent && { alert: "The alert must come before the freeze." }),
    ...(!(value.freezeAtPercent <= 100) && { freeze: "The freeze can be at 100 % at most." }),
  };
}

/** The budget tile: range, limit, marks, channels, terms, "Authorize Charges". Nothing is charged by it; it only allows. */
export function Authorize({
  value, onChange, expected, authorized, onAuthorize,
}: { value: Authorization; onChange: (value: Authorization) => void; expected: Schemas["MoneyRange"]; authorized: boolean; onAuthorize: (on: boolean) => void }) {
  const [terms, setTerms] = useState(authorized);
  const { min, max, step } = sliderRange(expected.max, value.maxBudget);
  const wrong = problems(value);
  const set = (change: Partial<Authorization>) => onChange({ ...value, ...change });
  const channel = (id: (typeof CHANNELS)[number]["id"], on: boolean) =>
    set({ notificationChannels: on ? [...value.notificationChannels, id] : value.notificationChannels.filter((known) => known !== id) });
  const low = expected.max > value.maxBudget;
  return (
    <div className="grid gap-5">
      <fieldset disabled={authorized} className="grid min-w-0 gap-5 lg:grid-cols-2">
        <legend className="visually-hidden">Budget</legend>
        <div className="grid content-start gap-3">
          <Slider label="Most it may spend" value={Math.min(value.maxBudget, max)} min={min} max={max} step={step} show={money} disabled={authorized} onChange={(maxBudget) => set({ maxBudget })} />
          <TextField
            label="Exact limit" type="number" inputMode="decimal" min="0.01" step="any" unit="$" value={Number.isFinite(value.maxBudget) ? value.maxBudget : ""} error={wrong.budget}
            onChange={(event) => set({ maxBudget: event.target.valueAsNumber })}
            hint={low ? `Expected ${money(expected.min)} to ${money(expected.max)}: it may freeze before the end, and resumes with more.` : `Expected ${money(expected.min)} to ${money(expected.max)}.`}
          />
        </div>
        <div className="grid content-start gap-3">
          <div className="grid grid-cols-2 gap-3">
            <TextField label="Alert at" type="number" min={1} max={99} unit="%" value={Number.isFinite(value.notifyAtPercent) ? value.notifyAtPercent : ""} error={wrong.alert} onChange={(event) => set({ notifyAtPercent: event.target.valueAsNumber })} />
            <TextField label="Freeze at" type="number" min={1} max={100} unit="%" value={Number.isFinite(value.freezeAtPercent) ? value.freezeAtPercent : ""} error={wrong.freeze} onChange={(event) => set({ freezeAtPercent: event.target.valueAsNumber })} />
          </div>
          <div className="grid gap-1">
            <span className="text-sm text-mid">Tell me</span>
            <div className="grid gap-x-4 gap-y-1 sm:grid-cols-3">
              {CHANNELS.map((item) => (
                <Check key={item.id} label={item.label} hint={item.hint} disabled={authorized} checked={value.notificationChannels.includes(item.id)} onChange={(on) => channel(item.id, on)} />
              ))}
            </div>
          </div>
          <div className="pt-1">
            <Bar
              value={Math.min(1, (expected.likely ?? expected.max) / Math.max(value.maxBudget, 1e-9))} label="Expected share of the budget" tone={low ? "hold" : "signal"}
              marks={[{ at: value.notifyAtPercent / 100, name: `Alert at ${value.notifyAtPercent} %` }, { at: value.freezeAtPercent / 100, name: `Freeze at ${value.freezeAtPercent} %` }]}
            />
            <p className="num mt-2 text-xs text-low">
              alert {money((value.maxBudget * value.notifyAtPercent) / 100)}, freeze {money((value.maxBudget * value.freezeAtPercent) / 100)}, never past {money(value.maxBudget)}
            </p>
          </div>
        </div>
      </fieldset>
      <div className="flex flex-wrap items-center justify-between gap-4 border-t border-edge pt-4">
        {authorized ? (
          <>
            <Badge tone="signal" icon="check">Charges up to {money(value.maxBudget)} authorized</Badge>
            <Button look="quiet" icon="edit" onClick={() => onAuthorize(false)}>Change the budget</Button>
          </>
        ) : (
          <>
            <div className="min-w-0 flex-1 basis-80">
              <Check
                label={`I accept that this run may spend up to ${money(value.maxBudget)}.`} checked={terms} onChange={setTerms}
                hint="At the freeze mark the work is saved and whatever bills is ended. Resuming needs you."
              />
            </div>
            <Button look="hold" icon="budget" className="w-full sm:w-auto" disabled={!terms || Object.keys(wrong).length > 0} onClick={() => onAuthorize(true)}>Authorize Charges</Button>
          </>
        )}
      </div>
    </div>
  );
}
