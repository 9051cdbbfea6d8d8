import { useMutation, useQuery } from "@tanstack/react-query";
import * as m from "motion/react-m";
import { type ReactNode, useState } from "react";
import { api, call, type Schemas, toProblem } from "../../lib/api";
import { money } from "../../lib/format";
import { Button } from "../../ui/Button";
import { Facts } from "../../ui/Card";
import { Dialog } from "../../ui/Dialog";
import { Select, Slider } from "../../ui/Field";
import { Icon } from "../../ui/Icon";
import { ButtonLink } from "../../ui/Link";
import { ErrorBox } from "../../ui/States";
import type { RunLive } from "./reducer";

const WHY: Record<string, string> = {
  budget: "The freeze mark of the budget was reached.", user: "You paused it.", lost_contact: "The worker lost contact and saved itself.",
  disk_full: "There is no room for the next checkpoint.",
};

/** Full screen and calm: one cause, what is safe, one action. The server enforces it; this only tells. */
export function Frozen({ job, run, children }: { job: Schemas["JobDetail"]; run: RunLive; children?: ReactNode }) {
  const { budget, freeze } = run;
  const reason = freeze?.reason ?? "budget";
  const least = Math.max(budget.currentSpend + job.budget.reserve, 0.01);
  const need = Math.max(budget.estimatedTotalSpend, least);
  const byBudget = reason === "budget";
  const [cap, setCap] = useState(() => Math.max(budget.maxBudget, roundUp(byBudget ? (need / job.budget.freezeThreshold) * 100 + job.budget.reserve : 0)));
  const top = roundUp(Math.max(cap, need * 2, budget.maxBudget * 3));
  const percent = Math.round(freeze?.percentUsed ?? budget.percent);
  const places = useQuery({ queryKey: ["places", job.id], staleTime: 30_000, queryFn: () => call(api.GET("/api/training/jobs/{job_id}/places", { params: { path: { job_id: job.id } } })) });
  const [at, setAt] = useState("");
  const others = places.data?.places.filter((one) => !one.present) ?? [];
  const place = others.find((one) => keyOf(one) === at);
  const resume = useMutation({
    mutationFn: () =>
      call(api.POST("/api/training/jobs/{job_id}/resume", {
        params: { path: { job_id: job.id } },
        body: { newBudget: cap === budget.maxBudget ? null : cap, place: place ? { provider: place.provider, gpu: place.gpu, gpuCount: place.gpuCount, pricePerHour: place.pricePerHour } : null },
      })),
  });
  return (
    <Dialog full title={`Training frozen at ${percent}% budget`}>
      <m.div initial={{ opacity: 0, y: 8 }} animate={{ opacity: 1, y: 0 }} transition={{ duration: 0.2 }} className="mx-auto grid w-full max-w-3xl gap-6 px-4 py-10 sm:py-16">
        <header className="grid gap-3">
          <span className="grid size-14 place-items-center rounded-full border border-info/50 text-info"><Icon name="frost" size={28} /></span>
          <p aria-hidden="true" className="text-2xl font-semibold sm:text-3xl">Training frozen at {percent}% budget</p>
          <p className="max-w-[60ch] text-mid">
            {freeze?.sentence || WHY[reason]} {job.name} is saved{freeze?.checkpoint ? " in a verified checkpoint" : ""} and no compute bills. Resuming goes on at
            {run.metrics ? ` step ${run.metrics.step + 1} of ${run.metrics.totalSteps}` : " the same place"}: nothing is lost and nothing is trained twice.
          </p>
          {freeze?.nextStep && <p className="max-w-[60ch] font-medium text-hold">{freeze.nextStep}</p>}
        </header>
        <div className="card p-5">
          <h3 className="mb-3 text-sm text-low">What it cost so far</h3>
          <Facts
            columns={3}
            rows={[
              ["Spent", money(budget.currentSpend)], ["Limit", money(budget.maxBudget)], ["Expected in all", money(budget.estimatedTotalSpend)],
              ["Per hour when it runs", money(rate(job))], ["Kept back to save and end", money(job.budget.reserve)],
              ["Checkpoints kept", String(run.checkpoints.filter((item) => item.kept !== false).length)],
            ]}
          />
        </div>
        <div className="card grid gap-5 p-5">
          <Slider label="New limit" value={cap} min={Math.min(roundUp(least), cap)} max={top} step={stepOf(top)} show={money} onChange={setCap}
            hint={cap < need ? `Below the ${money(need)} it is expected to need: it would freeze again.` : `Enough for the ${money(need)} it is expected to need.`} />
          {others.length > 0 && (
            <Select label="Go on at" value={at} onChange={(event) => setAt(event.target.value)} hint={place?.note}>
              <option value="">The same hardware as before</option>
              {others.map((one) => <option key={keyOf(one)} value={keyOf(one)}>{`${one.provider}, ${one.gpuCount} × ${one.gpu}: ${money(one.pricePerHour)} per hour`}</option>)}
            </Select>
          )}
          {resume.isError && <ErrorBox problem={toProblem(resume.error)} kept="It is still frozen, and everything is still saved." />}
          <div className="flex flex-wrap gap-3">
            <Button look="info" icon="play" busy={resume.isPending || resume.isSuccess} onClick={() => resume.mutate()} className="w-full sm:w-auto">{resume.isPending || resume.isSuccess ? "Resuming" : "Resume"}</Button>
            {run.checkpoints.length > 0 && <ButtonLink to="/jobs/$jobId/test" params={{ jobId: job.id }} icon="chat" className="w-full sm:w-auto">Test current model</ButtonLink>}
            <ButtonLink to="/jobs" look="quiet" icon="back" className="w-full sm:w-auto">All runs</ButtonLink>
          </div>
        </div>
        {children}
      </m.div>
    </Dialog>
  );
}

const keyOf = (place: Schemas["Place"]): string => `${place.provider}/${place.gpu}/${place.gpuCount}`;

const rate = (job: Schemas["JobDetail"]): number => {
  const price = job.estimate?.pricePerHour;
  return typeof price === "number" ? price : job.budget.spendRate;
};

function stepOf(top: number): number {
  return Math.max(0.01, Number((top / 200).toPrecision(1)));
}

function roundUp(amount: number): number {
  if (amount <= 0) return 0;
  const unit = amount < 1 ? 0.01 : amount < 10 ? 0.1 : 1;
  return Number((Math.ceil(amount / unit - 1e-9) * unit).toFixed(2));
}
