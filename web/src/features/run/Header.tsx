import { useMutation } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { api, call, type Schemas, toProblem } from "../../lib/api";
import type { How } from "../../lib/follow";
import { words } from "../../lib/format";
import { StateBadge } from "../../ui/Badge";
import { Button } from "../../ui/Button";
import { Confirm } from "../../ui/Dialog";
import { TextArea, TextField } from "../../ui/Field";
import { toast } from "../../ui/Toasts";
import { Heard } from "./Heard";
import type { RunLive } from "./reducer";

const ENDED = ["completed", "stopped", "failed"];

/** Name, state, when it was last heard of, and what a person may do. */
export function Header({ job, run, how, heardAt, onChanged }: { job: Schemas["JobDetail"]; run: RunLive; how: How; heardAt: number; onChanged: () => void }) {
  const [asking, setAsking] = useState(false);
  const [editing, setEditing] = useState(false);
  const path = { params: { path: { job_id: job.id } } };
  const pause = useMutation({
    mutationFn: () => call(api.POST("/api/training/jobs/{job_id}/pause", path)),
    onSuccess: () => toast("Saving a checkpoint, then it freezes.", "info"), onError: (error) => toast(toProblem(error).detail, "fault"),
  });
  const stop = useMutation({
    mutationFn: () => call(api.POST("/api/training/jobs/{job_id}/stop", path)),
    onSuccess: () => toast("Stopping. Its checkpoints stay.", "info"), onError: (error) => toast(toProblem(error).detail, "fault"), onSettled: () => setAsking(false),
  });
  const going = run.state === "training";
  const stoppable = !ENDED.includes(run.state) && run.state !== "stopping";
  return (
    <header className="grid gap-3">
      <div className="flex flex-wrap items-start justify-between gap-4">
        <div className="min-w-0 flex-1 basis-80">
          <h1 className="text-xl font-semibold break-words sm:text-2xl">{job.name}</h1>
          {job.prompt !== job.name && <p className="mt-1 line-clamp-2 text-sm break-words text-mid">{job.prompt}</p>}
        </div>
        <div className="flex flex-wrap gap-2">
          <Button look="quiet" icon="edit" aria-expanded={editing} onClick={() => setEditing(!editing)}>Notes<span className="visually-hidden"> and name</span></Button>
          {going && <Button icon="frost" busy={pause.isPending} onClick={() => pause.mutate()}>Pause</Button>}
          {stoppable && <Button look="danger" icon="stop" onClick={() => setAsking(true)}>Stop</Button>}
        </div>
      </div>
      <div className="flex flex-wrap items-center gap-x-4 gap-y-2 text-sm text-mid">
        <StateBadge state={run.state} />
        {(!ENDED.includes(run.state) || how !== "live") && <Heard how={how} heardAt={heardAt} quiet={!["training", "setting_up", "freezing", "stopping"].includes(run.state)} />}
        <span className="num text-xs break-words">{job.baseModel}, {words(job.method)}</span>
        {job.inexactResumes > 0 && <span className="text-xs text-hold">{job.inexactResumes} resume{job.inexactResumes > 1 ? "s" : ""} on a changed machine: not bit for bit</span>}
      </div>
      {job.notes && !editing && <p className="max-w-[70ch] text-sm whitespace-pre-wrap text-mid">{job.notes}</p>}
      {editing && <Edit job={job} onDone={() => { setEditing(false); onChanged(); }} />}
      {asking && (
        <Confirm title="Stop this run for good?" action="Stop the run" busy={stop.isPending} onYes={() => stop.mutate()} onNo={() => setAsking(false)}>
          <p>A last checkpoint is saved and stays, with the curve and the log. To go on later, pause it instead.</p>
        </Confirm>
      )}
    </header>
  );
}

function Edit({ job, onDone }: { job: Schemas["JobDetail"]; onDone: () => void }) {
  const [name, setName] = useState(job.name);
  const [notes, setNotes] = useState(job.notes);
  const save = useMutation({
    mutationFn: () => call(api.PATCH("/api/training/jobs/{job_id}", { params: { path: { job_id: job.id } }, body: { name, notes } })), onSuccess: onDone,
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    save.mutate();
  };
  return (
    <form onSubmit={submit} className="card grid gap-3 p-4">
      <TextField label="Name" required maxLength={200} value={name} onChange={(event) => setName(event.target.value)} error={save.isError ? toProblem(save.error).detail : undefined} />
      <TextArea label="Notes" maxLength={20_000} value={notes} onChange={(event) => setNotes(event.target.value)} />
      <div><Button type="submit" look="primary" busy={save.isPending}>Save</Button></div>
    </form>
  );
}
