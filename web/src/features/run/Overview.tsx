import { duration, money } from "../../lib/format";
import { Card } from "../../ui/Card";
import { Ring } from "../../ui/Progress";
import type { RunLive } from "./reducer";

const LEAST_STEPS = 5;

/** How far, how long, what it cost, in one card. */
export function Overview({ run, dim }: { run: RunLive; dim: boolean }) {
  const share = progress(run);
  const left = secondsLeft(run, share);
  const metrics = run.metrics;
  const rows: [string, string, string?][] = [
    ["Time left", run.state === "training" ? (left === null ? "working it out" : `about ${duration(left)}`) : "–"],
    ["Spent", money(run.budget.currentSpend), `of ${money(run.budget.maxBudget)}`],
    ["Rate", `${money(run.budget.spendRate)}/h`, `${money(run.budget.estimatedTotalSpend)} expected in all`],
    ["Loss", metrics?.loss != null ? metrics.loss.toFixed(4) : "–", held(run)],
    ["Speed", metrics ? `${Math.round(metrics.tokensPerSecond).toLocaleString("en-US")} tokens/s` : "–"],
    ["Epoch", metrics ? `${metrics.epoch.toFixed(2)} of ${metrics.totalEpochs.toFixed(metrics.totalEpochs % 1 ? 2 : 0)}` : "–"],
  ];
  return (
    <Card className={dim ? "[&_dd]:text-low" : ""}>
      <div className="flex flex-col items-center gap-6 sm:flex-row">
        <Ring value={share} label="Progress of the run" size={148}>
          <span className="num text-2xl font-semibold">{Math.floor(share * 100)}%</span>
          <span className="num mx-auto max-w-24 text-xs leading-4 text-balance text-low">{metrics ? `step ${metrics.step} of ${metrics.totalSteps}` : "not started"}</span>
        </Ring>
        <dl className="grid w-full min-w-0 flex-1 grid-cols-2 gap-x-6 gap-y-4 lg:grid-cols-3">
          {rows.map(([name, value, hint]) => (
            <div key={name} className="min-w-0">
              <dt className="text-xs text-low">{name}</dt>
              <dd className="num text-base font-semibold break-words">{value}</dd>
              {hint && <dd className="num text-xs text-low">{hint}</dd>}
            </div>
          ))}
        </dl>
      </div>
    </Card>
  );
}

function held(run: RunLive): string {
  const last = run.evals.at(-1);
  return last ? `held out ${last.loss.toFixed(4)}` : "";
}

/** Share of all steps made, over all stages. */
export function progress(run: RunLive): number {
  if (run.state === "completed") return 1;
  const { metrics, probe } = run;
  if (!metrics) return 0;
  const totals = probe?.totalSteps?.length ? probe.totalSteps : [metrics.totalSteps];
  const before = totals.slice(0, metrics.stage).reduce((sum, steps) => sum + steps, 0);
  return Math.min(1, (before + metrics.step) / Math.max(1, totals.reduce((sum, steps) => sum + steps, 0)));
}

function secondsLeft(run: RunLive, share: number): number | null {
  const { metrics, probe } = run;
  if (!metrics || share <= 0) return null;
  const totals = probe?.totalSteps?.length ? probe.totalSteps : [metrics.totalSteps];
  const all = totals.reduce((sum, steps) => sum + steps, 0);
  const whole = run.resumes.length === 0 && metrics.step >= LEAST_STEPS ? metrics.elapsedS / metrics.step : null;
  const perStep = pace(run) ?? whole ?? probe?.secondsPerStep ?? null;
  return perStep === null ? null : perStep * all * (1 - share);
}

/** Seconds per step as seen since this generation was first heard of; null before that says anything. */
function pace({ metrics, paceFrom }: RunLive): number | null {
  if (!metrics || !paceFrom || metrics.step - paceFrom.step < LEAST_STEPS) return null;
  const seconds = metrics.elapsedS - paceFrom.elapsedS;
  return seconds > 0 ? seconds / (metrics.step - paceFrom.step) : null;
}
