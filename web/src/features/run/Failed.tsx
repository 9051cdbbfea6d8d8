import { useMutation } from "@tanstack/react-query";
import { api, call, type Schemas, toProblem } from "../../lib/api";
import { Again } from "../../ui/Again";
import { Button } from "../../ui/Button";
import { Icon } from "../../ui/Icon";
import { ErrorBox } from "../../ui/States";
import type { RunLive } from "./reducer";

/** What happened, what was kept, what to do next, one button. Also for a run that was stopped. */
export function Failed({ job, run }: { job: Schemas["JobDetail"]; run: RunLive }) {
  const failed = run.state === "failed";
  const failure = run.failure;
  const retry = useMutation({ mutationFn: () => call(api.POST("/api/training/jobs/{job_id}/retry", { params: { path: { job_id: job.id } } })) });
  const newest = [...run.checkpoints].sort((a, b) => b.stage - a.stage || b.step - a.step)[0];
  return (
    <section role={failed ? "alert" : undefined} aria-label={failed ? "The run failed" : "The run was stopped"} className={`card grid gap-4 p-5 sm:p-6 ${failed ? "border-fault/50" : ""}`}>
      <div className="flex items-start gap-4">
        <span className={`grid size-11 shrink-0 place-items-center rounded-full border ${failed ? "border-fault/50 text-fault" : "border-line/60 text-mid"}`}><Icon name={failed ? "alert" : "stop"} /></span>
        <div className="min-w-0 space-y-1">
          <h2 className="text-xl font-semibold break-words">{failed ? (failure?.message ?? (run.reason || "The run failed.")) : "This run was stopped."}</h2>
          <p className="text-mid">
            {failure?.kept || (newest ? `The checkpoint of step ${newest.step} is kept; a new try goes on from there.` : "No checkpoint had been saved; a new try starts from the beginning.")}
          </p>
          {failure?.nextStep && <p className="text-mid">{failure.nextStep}</p>}
          {failure && <p className="num text-xs text-low">{failure.code}</p>}
        </div>
      </div>
      {retry.isError && <ErrorBox problem={toProblem(retry.error)} />}
      <div className="flex flex-wrap gap-3">
        <Button look="primary" icon="retry" busy={retry.isPending} onClick={() => retry.mutate()}>{newest ? `Try again from step ${newest.step}` : "Try again"}</Button>
        <Again planId={job.planId} />
      </div>
    </section>
  );
}
