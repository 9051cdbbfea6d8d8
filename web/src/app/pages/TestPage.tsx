import { useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { useState } from "react";
import { useReport } from "../../features/report/Verdict";
import { Tester } from "../../features/tests/Tester";
import { api, call, toProblem } from "../../lib/api";
import { useDocumentTitle } from "../../lib/useDocumentTitle";
import { StateBadge } from "../../ui/Badge";
import { Select } from "../../ui/Field";
import { ButtonLink } from "../../ui/Link";
import { Empty, Loading, Missing } from "../../ui/States";

/** The tester, with the trained model filled in. */
export function TestPage() {
  const { jobId } = useParams({ from: "/jobs/$jobId/test" });
  const job = useQuery({ queryKey: ["job", jobId], queryFn: () => call(api.GET("/api/training/jobs/{job_id}", { params: { path: { job_id: jobId } } })) });
  const report = useReport(jobId, job.data?.state === "completed");
  const [chosen, setChosen] = useState<string | null>(null);
  useDocumentTitle(job.data ? `Test ${job.data.name}` : "Test");
  if (job.isError) return <Missing title="This run cannot be shown" problem={toProblem(job.error)} onRetry={() => void job.refetch()} />;
  if (!job.data) return <Loading label="Loading the run" />;
  const done = job.data.state === "completed";
  const checkpoints = job.data.checkpoints.filter((item) => item.kept !== false).reverse();
  // The weights are chosen once: a checkpoint that is saved meanwhile does not take the place of the one under test.
  if (chosen === null && (done || checkpoints[0])) setChosen(done ? "" : (checkpoints[0]?.checkpointId ?? ""));
  const target = chosen ?? "";
  const at = checkpoints.find((item) => item.checkpointId === target);
  const weights = at ? `step ${at.step}` : "the finished model";
  return (
    <div className="grid gap-6">
      <header className="grid gap-3">
        <ButtonLink to="/jobs/$jobId" params={{ jobId }} look="quiet" icon="back" className="justify-self-start px-2">{job.data.name}</ButtonLink>
        <div className="flex flex-wrap items-center gap-3"><h1 className="text-2xl font-semibold">Test the model</h1><StateBadge state={job.data.state} /></div>
        <p className="max-w-[60ch] text-mid">The same question goes through {job.data.baseModel} and through what it became. Tests are charged apart from the run.</p>
      </header>
      {!done && checkpoints.length === 0 ? (
        <Empty title="There is nothing to test yet: the first checkpoint is still to come." />
      ) : (
        <>
          <div className="max-w-md">
            <Select label="Weights" value={target} onChange={(event) => setChosen(event.target.value)}>
              {done && <option value="">the finished model</option>}
              {checkpoints.map((item) => <option key={item.checkpointId} value={item.checkpointId}>step {item.step}{item.loss != null ? `, loss ${item.loss.toFixed(3)}` : ""}</option>)}
            </Select>
          </div>
          <Tester jobId={jobId} checkpointId={target || null} weights={weights} capability={job.data.capability} first={report.data?.sideBySide[0]?.prompt ?? job.data.samples[0]?.input ?? ""} />
        </>
      )}
    </div>
  );
}
