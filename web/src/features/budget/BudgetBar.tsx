import { useMutation } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api, call, toProblem } from "../../lib/api";
import { money, words } from "../../lib/format";
import { Badge, type Tone } from "../../ui/Badge";
import { Button } from "../../ui/Button";
import { Card } from "../../ui/Card";
import { TextField } from "../../ui/Field";
import { Bar } from "../../ui/Progress";
import { ErrorBox } from "../../ui/States";
import { toast } from "../../ui/Toasts";

export interface Spend {
  currentSpend: number;
  maxBudget: number;
  estimatedTotalSpend: number;
  spendRate: number;
  status: string;
}

const TONES: Record<string, Tone> = { approaching_alert: "hold", alert_sent: "hold", approaching_freeze: "hold", frozen: "info", completed: "signal" };

/** Spend against the cap, with the alert and freeze marks; the cap can be moved while the run goes on. */
export function BudgetBar({ jobId, spend, alert, freeze, changeable, open }: { jobId: string; spend: Spend; alert: number; freeze: number; changeable: boolean; open: boolean }) {
  const [edit, setEdit] = useState(open && changeable);
  const share = spend.currentSpend / Math.max(spend.maxBudget, 1e-9);
  const tone = spend.status === "frozen" ? "info" : share * 100 >= freeze ? "fault" : share * 100 >= alert ? "hold" : "signal";
  const over = spend.estimatedTotalSpend > (spend.maxBudget * freeze) / 100;
  return (
    <Card title="Budget" aside={<Badge tone={TONES[spend.status] ?? "plain"}>{words(spend.status)}</Badge>}>
      <div className="flex items-baseline justify-between gap-3">
        <p className="num text-lg font-semibold">{money(spend.currentSpend)} <span className="text-sm font-normal text-low">of {money(spend.maxBudget)}</span></p>
        <p className="num text-sm text-mid">{(share * 100).toFixed(share < 0.1 ? 1 : 0)} %</p>
      </div>
      <div className="mt-3 mb-2">
        <Bar value={share} label="Budget used" tone={tone} marks={[{ at: alert / 100, name: `Alert at ${alert} %` }, { at: freeze / 100, name: `Freeze at ${freeze} %` }]} />
      </div>
      <p className="num text-xs text-low">alert at {alert} % ({money((spend.maxBudget * alert) / 100)}), freeze at {freeze} % ({money((spend.maxBudget * freeze) / 100)})</p>
      <p className={`mt-2 text-sm ${over && changeable ? "text-hold" : "text-mid"}`}>
        {spend.spendRate > 0 ? `${money(spend.spendRate)} per hour now. ` : "Nothing bills now. "}
        {changeable && spend.estimatedTotalSpend > spend.currentSpend * 1.01 && (over ? `Expected ${money(spend.estimatedTotalSpend)} in all: it will freeze before the end.` : `Expected ${money(spend.estimatedTotalSpend)} in all.`)}
      </p>
      {changeable && !edit && <Button icon="edit" className="mt-3" onClick={() => setEdit(true)}>Change the budget</Button>}
      {changeable && edit && <Edit jobId={jobId} spend={spend} alert={alert} freeze={freeze} onClose={() => setEdit(false)} />}
    </Card>
  );
}

function Edit({ jobId, spend, alert, freeze, onClose }: { jobId: string; spend: Spend; alert: number; freeze: number; onClose: () => void }) {
  const [values, setValues] = useState({ maxBudget: spend.maxBudget, notifyAtPercent: alert, freezeAtPercent: freeze });
  const save = useMutation({
    mutationFn: () => call(api.PUT("/api/training/jobs/{job_id}/budget", { params: { path: { job_id: jobId } }, body: values })),
    onSuccess: (state) => {
      toast(`The budget is ${money(state.maxBudget)} now.`);
      onClose();
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    save.mutate();
  };
  const field = (name: keyof typeof values, label: string, unit: string) => (
    <TextField label={label} type="number" step="any" min="0" required unit={unit} value={Number.isFinite(values[name]) ? values[name] : ""} onChange={(event) => setValues({ ...values, [name]: event.target.valueAsNumber })} />
  );
  return (
    <form onSubmit={submit} className="mt-3 grid gap-3">
      <div className="grid grid-cols-3 gap-3">{field("maxBudget", "Limit", "$")}{field("notifyAtPercent", "Alert", "%")}{field("freezeAtPercent", "Freeze", "%")}</div>
      {save.isError && <ErrorBox problem={toProblem(save.error)} kept="The budget is as it was." />}
      <div className="flex gap-3"><Button type="submit" look="hold" busy={save.isPending}>Save</Button><Button look="quiet" onClick={onClose}>Cancel</Button></div>
    </form>
  );
}
