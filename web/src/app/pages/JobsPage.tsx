import { keepPreviousData, useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { JobRow } from "../../features/jobs/JobRow";
import { api, call, type Schemas, toProblem } from "../../lib/api";
import { bytes } from "../../lib/format";
import { useDocumentTitle } from "../../lib/useDocumentTitle";
import { useSettled } from "../../lib/useSettled";
import { AgainIcon } from "../../ui/Again";
import { Button, IconButton } from "../../ui/Button";
import { Confirm } from "../../ui/Dialog";
import { TextField } from "../../ui/Field";
import { ButtonLink } from "../../ui/Link";
import { Empty, ErrorBox, Loading } from "../../ui/States";
import { toast } from "../../ui/Toasts";

type Job = Schemas["JobSummary"];
const DELETABLE = ["completed", "stopped", "failed", "frozen"];
const RUNNING = ["queued", "setting_up", "training", "freezing", "stopping"];
const PAGE = 50;

export function JobsPage() {
  useDocumentTitle("Runs");
  const [typed, setTyped] = useState("");
  const find = useSettled(typed.trim());
  const [doomed, setDoomed] = useState<Job | null>(null);
  const list = useInfiniteQuery({
    queryKey: ["jobs", "all", find], initialPageParam: null as string | null, getNextPageParam: (last: Schemas["JobList"]) => last.next ?? undefined,
    queryFn: ({ pageParam }): Promise<Schemas["JobList"]> =>
      call(api.GET("/api/training/jobs", { params: { query: { limit: PAGE, ...(find && { find }), ...(pageParam && { before: pageParam }) } } })),
    placeholderData: keepPreviousData,
    refetchInterval: (query) => (query.state.data?.pages.some((page) => page.jobs.some((job) => RUNNING.includes(job.state))) ? 4000 : false),
  });
  const jobs = useMemo(() => list.data?.pages.flatMap((page) => page.jobs) ?? [], [list.data]);
  const info = useQuery({ queryKey: ["info"], queryFn: () => call(api.GET("/api/training/system/info", {})), refetchInterval: 10_000 });
  const none = list.isSuccess && jobs.length === 0;
  return (
    <div className="grid gap-6">
      <header className="flex flex-wrap items-end justify-between gap-4">
        <div>
          <h1 className="text-2xl font-semibold">Runs</h1>
          <DiskUse />
        </div>
        <ButtonLink to="/" look="primary" icon="plus">Train something new</ButtonLink>
      </header>
      {info.data?.held && <p role="status" className="rounded-card border border-hold/50 bg-ink-900 p-4 text-sm text-hold">{info.data.held} Queued runs wait until then; nothing is lost.</p>}
      {list.isPending && <Loading label="Loading the runs" rows={4} />}
      {list.isError && <ErrorBox problem={toProblem(list.error)} onRetry={() => void list.refetch()} />}
      {none && !find && <Empty title="No runs yet. Each one appears here with its progress, cost and result." action={<ButtonLink to="/" icon="spark">Describe the first one</ButtonLink>} />}
      {(jobs.length > 0 || typed) && (
        <TextField label="Find a run" type="search" value={typed} maxLength={300} placeholder="Name, note, request, model, method or state" onChange={(event) => setTyped(event.target.value)} />
      )}
      {find && list.isSuccess && <p role="status" className="visually-hidden">{jobs.length} runs found</p>}
      {none && find && <Empty title={`No run matches “${find}”.`} action={<Button onClick={() => setTyped("")}>Show all</Button>} />}
      {jobs.length > 0 && (
        <ul className="grid gap-3">
          {jobs.map((job) => (
            <li key={job.id}>
              <JobRow level={2} job={job} actions={
                <>
                  {job.diskBytes > 0 && <span className="num mr-2 text-xs text-low">{bytes(job.diskBytes)}</span>}
                  <AgainIcon planId={job.planId} name={job.name} />
                  <IconButton icon="trash" label={`Delete ${job.name}`} disabled={!DELETABLE.includes(job.state)} onClick={() => setDoomed(job)} />
                </>
              } />
            </li>
          ))}
        </ul>
      )}
      {list.hasNextPage && <Button busy={list.isFetchingNextPage} onClick={() => void list.fetchNextPage()}>Show older runs</Button>}
      {doomed && <Delete job={doomed} onDone={() => setDoomed(null)} />}
    </div>
  );
}

function DiskUse() {
  const disk = useQuery({ queryKey: ["disk"], queryFn: () => call(api.GET("/api/training/system/disk", {})), staleTime: 30_000 });
  return <p className="num mt-1 text-xs text-low">{disk.data ? `${bytes(disk.data.runs)} in runs, ${bytes(disk.data.data)} data, ${bytes(disk.data.cache)} models; ${bytes(disk.data.free)} free` : "\u00a0"}</p>;
}

function Delete({ job, onDone }: { job: Job; onDone: () => void }) {
  const client = useQueryClient();
  const act = useMutation({
    mutationFn: () => call(api.DELETE("/api/training/jobs/{job_id}", { params: { path: { job_id: job.id } } })),
    onSuccess: () => {
      toast(`${job.name} and its files are deleted.`);
      void client.invalidateQueries({ queryKey: ["jobs"] });
      void client.invalidateQueries({ queryKey: ["disk"] });
      onDone();
    },
  });
  return (
    <Confirm title={`Delete ${job.name}?`} action={job.diskBytes > 0 ? `Delete ${bytes(job.diskBytes)}` : "Delete"} busy={act.isPending} onYes={() => act.mutate()} onNo={onDone}>
      <p>Its checkpoints, model, curves, log and receipt are removed from this machine. This cannot be undone.</p>
      {act.isError && <ErrorBox problem={toProblem(act.error)} kept="Nothing was deleted." />}
    </Confirm>
  );
}
