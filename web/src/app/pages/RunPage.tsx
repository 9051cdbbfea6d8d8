import { useMutation, useQuery } from "@tanstack/react-query";
import { useParams, useSearch } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";
import { BudgetBar } from "../../features/budget/BudgetBar";
import { ExportModel } from "../../features/export/Export";
import { Complete } from "../../features/report/Verdict";
import { Charts } from "../../features/run/Charts";
import { ExpertUse } from "../../features/run/ExpertUse";
import { Failed } from "../../features/run/Failed";
import { Frozen } from "../../features/run/Frozen";
import { Header } from "../../features/run/Header";
import { isStale } from "../../features/run/Heard";
import { Logs } from "../../features/run/Logs";
import { Overview } from "../../features/run/Overview";
import { Alarms, Checkpoints, CurrentData, Samples, Stages } from "../../features/run/Panels";
import type { RunLive } from "../../features/run/reducer";
import { useRun } from "../../features/run/store";
import { Probe, Setup } from "../../features/setup/Setup";
import { Tester } from "../../features/tests/Tester";
import { api, call, type Schemas, toProblem } from "../../lib/api";
import { sentence } from "../../lib/format";
import { useDocumentTitle } from "../../lib/useDocumentTitle";
import { Boundary } from "../../ui/Boundary";
import { Button } from "../../ui/Button";
import { Confirm } from "../../ui/Dialog";
import { Disclosure } from "../../ui/Disclosure";
import { ErrorBox, Loading, Missing } from "../../ui/States";
import { toast } from "../../ui/Toasts";

type Checkpoint = RunLive["checkpoints"][number];
const MILESTONES: Record<string, string> = {
  training: "Training has started.", frozen: "The run is frozen.", completed: "Training is complete.", failed: "The run failed.",
  awaiting_approval: "The next stage needs your approval.", stopped: "The run was stopped.",
};

export function RunPage() {
  const { jobId } = useParams({ from: "/jobs/$jobId" });
  const { panel } = useSearch({ from: "/jobs/$jobId" });
  const { run, how, heardAt, problem, retry, look } = useRun(jobId);
  // What the stream does not carry (name, notes, plan, reserve) is read again whenever the state changes.
  const job = useQuery({ queryKey: ["job", jobId, run?.state], enabled: run !== null, placeholderData: (before) => before, queryFn: () => call(api.GET("/api/training/jobs/{job_id}", { params: { path: { job_id: jobId } } })) });
  useDocumentTitle(job.data ? `${job.data.name}, ${run?.state.replaceAll("_", " ")}` : "Run");
  if (problem && !run) return <Missing title="This run cannot be shown" problem={problem} onRetry={retry} />;
  if (!run || !job.data) return job.isError ? <Missing title="This run cannot be shown" problem={toProblem(job.error)} onRetry={() => void job.refetch()} /> : <Loading label="Loading the run" rows={5} />;
  return (
    <div className="grid gap-6">
      <Header job={job.data} run={run} how={how} heardAt={heardAt} onChanged={() => void job.refetch()} />
      <p role="status" className="visually-hidden">{MILESTONES[run.state] ?? ""}</p>
      {isStale(how) && (
        <div role="status" className="flex flex-wrap items-center justify-between gap-3 rounded-card border border-hold/40 bg-ink-900 px-4 py-2 text-sm text-mid">
          The server is not answering. What you see is as last heard; the run goes on without this page.
          <Button look="quiet" icon="retry" onClick={retry}>Try now</Button>
        </div>
      )}
      <Body job={job.data} run={run} dim={isStale(how)} panel={panel} onLook={look} />
      {run.state === "frozen" && <Frozen key={run.freeze?.frozenAt ?? ""} job={job.data} run={run}><Logs lines={run.logs} /></Frozen>}
    </div>
  );
}

function Body({ job, run, dim, panel, onLook }: { job: Schemas["JobDetail"]; run: RunLive; dim: boolean; panel: string | undefined; onLook: (from: number, to: number) => Promise<void> }) {
  const [testing, setTesting] = useState<Checkpoint | null>(null);
  const [back, setBack] = useState<Checkpoint | null>(null);
  const quick = useRef<HTMLDivElement>(null);
  const early = run.state === "queued" || run.state === "setting_up";
  const ended = ["completed", "failed", "stopped"].includes(run.state);
  const files = useQuery({ queryKey: ["files", job.id], enabled: run.state === "completed", queryFn: () => call(api.GET("/api/training/jobs/{job_id}/files", { params: { path: { job_id: job.id } } })) });
  useEffect(() => {
    if (testing) quick.current?.scrollIntoView({ block: "start" });
  }, [testing]);
  const budget = (
    <BudgetBar jobId={job.id} spend={run.budget} alert={job.budget.alertThreshold} freeze={job.budget.freezeThreshold} changeable={!ended} open={panel === "budget"} />
  );
  const curves = run.curve.steps.length > 0 && <Boundary what="The charts"><Charts run={run} onLook={onLook} /></Boundary>;
  const checkpoints = (
    <Checkpoints run={run} actions={(item) => (
      <>
        <Button look="quiet" icon="chat" className="px-3" onClick={() => setTesting(item)}>Test<span className="visually-hidden"> step {item.step}</span></Button>
        {run.state !== "completed" && <Button look="quiet" icon="rollback" className="px-3" onClick={() => setBack(item)}>Rollback<span className="visually-hidden"> to step {item.step}</span></Button>}
      </>
    )} />
  );
  return (
    <>
      {(run.state === "failed" || run.state === "stopped") && <Failed job={job} run={run} />}
      {run.state === "completed" && <Boundary what="The report"><Complete jobId={job.id} planId={job.planId} files={files.data?.files ?? []} /></Boundary>}
      {(run.state === "completed" || (run.state === "stopped" && run.checkpoints.length > 0)) && <Boundary what="The export"><ExportModel jobId={job.id} /></Boundary>}
      {early && (
        <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,1fr)_21rem]">
          <Setup setup={run.setup} logs={run.setupLogs} queuePlace={run.state === "queued" ? (job.queuePosition ?? 1) : null} />
          {budget}
        </div>
      )}
      {!early && !ended && <Overview run={run} dim={dim} />}
      {run.stages.length > 1 && !early && <Stages stages={run.stages} action={(stage) => stage.status === "awaiting_approval" && run.state === "awaiting_approval" && <Approve jobId={job.id} stage={stage} />} />}
      {run.probe && !ended && <Probe probe={run.probe} expected={run.budget.estimatedTotalSpend} />}
      {ended && curves ? <Disclosure title="Curves" open={run.state !== "completed"}>{curves}</Disclosure> : curves}
      {testing && (
        <div ref={quick} className="scroll-mt-20">
          <Disclosure key={testing.checkpointId} open title={`Quick test of step ${testing.step}, beside the base`}>
            <Tester jobId={job.id} checkpointId={testing.checkpointId} weights={`step ${testing.step}`} capability={job.capability} />
          </Disclosure>
        </div>
      )}
      {!early && (
        <div className="grid items-start gap-4 lg:grid-cols-2">
          <div className="grid min-w-0 gap-4">
            {!ended && <CurrentData run={run} jobId={job.id} />}
            {run.state === "completed" && budget}
            {(run.state !== "completed" || run.samples.some((sample) => sample.file)) && <Samples samples={run.samples} jobId={job.id} />}
            {(run.experts !== null || run.stages.some((stage) => stage.method === "moe_diffusion")) && <ExpertUse experts={run.experts} />}
            <Alarms alarms={run.alarms} />
          </div>
          <div className="grid min-w-0 gap-4">
            {run.state !== "completed" && budget}
            {checkpoints}
          </div>
        </div>
      )}
      <Logs lines={run.logs} open={panel === "error" || run.state === "failed"} />
      {back && <Rollback jobId={job.id} checkpoint={back} onDone={() => setBack(null)} />}
    </>
  );
}

function Approve({ jobId, stage }: { jobId: string; stage: Schemas["StageView"] }) {
  const approve = useMutation({
    mutationFn: () => call(api.POST("/api/training/jobs/{job_id}/stages/{index}/approve", { params: { path: { job_id: jobId, index: stage.index } } })),
    onError: (error) => toast(toProblem(error).detail, "fault"),
  });
  return <Button look="hold" icon="check" className="mt-3 w-full" busy={approve.isPending} onClick={() => approve.mutate()}>Approve {stage.name}</Button>;
}

function Rollback({ jobId, checkpoint, onDone }: { jobId: string; checkpoint: Checkpoint; onDone: () => void }) {
  const act = useMutation({
    mutationFn: () => call(api.POST("/api/training/jobs/{job_id}/rollback", { params: { path: { job_id: jobId } }, body: { checkpointId: checkpoint.checkpointId } })),
    onSuccess: (job) => {
      toast(`Going back to step ${checkpoint.step}: ${sentence(job.state)}.`, "info");
      onDone();
    },
  });
  return (
    <Confirm title={`Go back to step ${checkpoint.step}?`} action="Roll back" look="hold" busy={act.isPending} onYes={() => act.mutate()} onNo={onDone}>
      <p>Training goes on from this checkpoint. What was trained after it is replaced; what was spent stays spent.</p>
      {act.isError && <ErrorBox problem={toProblem(act.error)} kept="The run is as it was." />}
    </Confirm>
  );
}
