import { useMutation, useQuery } from "@tanstack/react-query";
import { useParams, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { api, call, type Schemas, toProblem } from "../../lib/api";
import { money } from "../../lib/format";
import { useDocumentTitle } from "../../lib/useDocumentTitle";
import { StateBadge } from "../../ui/Badge";
import { Button } from "../../ui/Button";
import { Card, Facts } from "../../ui/Card";
import { Slider } from "../../ui/Field";
import { ButtonLink } from "../../ui/Link";
import { ErrorBox, Loading } from "../../ui/States";

/** Behind the signed link: looking changes nothing, resuming uses the link up. */
export function ResumePage() {
  const { jobId } = useParams({ from: "/resume/$jobId" });
  const { token = "" } = useSearch({ from: "/resume/$jobId" });
  useDocumentTitle("Resume");
  const page = useQuery({
    queryKey: ["resume", jobId, token], retry: false,
    queryFn: () => call(api.GET("/api/training/resume/{job_id}", { params: { path: { job_id: jobId }, query: { token } } })),
  });
  return (
    <div className="mx-auto grid max-w-2xl gap-5">
      {page.isPending && <Loading label="Checking the link" />}
      {page.isError && (
        <>
          <h1 className="text-2xl font-semibold">This link does not open the run</h1>
          <ErrorBox problem={toProblem(page.error)} kept="The run itself is safe." />
          <ButtonLink to="/jobs/$jobId" params={{ jobId }} icon="arrow" className="justify-self-start">Open the run&apos;s page</ButtonLink>
        </>
      )}
      {page.data && <Frozen jobId={jobId} token={token} page={page.data} onChanged={() => void page.refetch()} />}
    </div>
  );
}

function Frozen({ jobId, token, page, onChanged }: { jobId: string; token: string; page: Schemas["ResumePage"]; onChanged: () => void }) {
  const { budget, freezeState } = page;
  const enough = Math.max(budget.maxBudget, Math.ceil((budget.estimatedTotalSpend / budget.freezeThreshold) * 10_000) / 100, page.minimumBudget);
  const [cap, setCap] = useState(enough);
  const top = Math.max(enough * 2, budget.maxBudget * 3, 1);
  const resume = useMutation({
    mutationFn: () => call(api.POST("/api/training/resume/{job_id}", { params: { path: { job_id: jobId } }, body: { token, newBudget: cap === budget.maxBudget ? null : cap } })),
    onError: onChanged,
  });
  return (
    <>
      <header className="grid gap-2">
        <div className="flex flex-wrap items-center gap-3"><h1 className="text-2xl font-semibold break-words">{page.name}</h1><StateBadge state={page.state} /></div>
        <p className="text-mid">
          {freezeState ? `Training frozen at ${Math.round(freezeState.percentUsed ?? budget.percentUsed)}% budget. Its work is saved and no compute bills.` : "This run is not frozen any more."}
        </p>
      </header>
      <Card>
        <Facts columns={3} rows={[["Spent", money(budget.currentSpend)], ["Limit", money(budget.maxBudget)], ["Expected in all", money(budget.estimatedTotalSpend)], ["Base model", page.baseModel], ["Frozen", freezeState ? new Date(freezeState.frozenAt).toLocaleString() : "–"], ["Least possible limit", money(page.minimumBudget)]]} />
      </Card>
      {resume.isSuccess ? (
        <p role="status" className="card p-5">The run goes on where it stopped. This link is used up.</p>
      ) : page.canResume ? (
        <Card>
          <div className="grid gap-5">
            <Slider label="New limit" min={Math.min(page.minimumBudget, cap)} max={top} step={Math.max(0.01, Number((top / 200).toPrecision(1)))} value={cap} show={money} onChange={setCap}
              hint={cap < budget.estimatedTotalSpend ? "Below what it is expected to need: it would freeze again." : "Enough for what it is expected to need."} />
            {resume.isError && <ErrorBox problem={toProblem(resume.error)} kept="It is still frozen, and everything is still saved." />}
            <Button look="info" icon="play" busy={resume.isPending} onClick={() => resume.mutate()} className="sm:justify-self-start">Resume</Button>
          </div>
        </Card>
      ) : null}
      <div className="flex flex-wrap gap-3">
        <ButtonLink to="/jobs/$jobId" params={{ jobId }} icon="arrow">Open the run</ButtonLink>
        <ButtonLink to="/jobs/$jobId/test" params={{ jobId }} look="quiet" icon="chat">Test the model</ButtonLink>
      </div>
    </>
  );
}
