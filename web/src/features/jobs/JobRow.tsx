import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { Schemas } from "../../lib/api";
import { ago, money, words } from "../../lib/format";
import { useNow } from "../../lib/useNow";
import { StateBadge } from "../../ui/Badge";
import { Bar } from "../../ui/Progress";

const BAR: Record<string, "signal" | "hold" | "fault" | "info"> = { failed: "fault", frozen: "info", freezing: "info", stopped: "hold", awaiting_approval: "hold" };

/** A run in a list: name, what it is, how far, what it cost. `actions` sit outside the link. */
export function JobRow({ job, actions, level = 3 }: { job: Schemas["JobSummary"]; actions?: ReactNode; level?: 2 | 3 }) {
  const now = useNow();
  const Heading = `h${level}` as const;
  return (
    <article className={`card relative grid gap-x-6 gap-y-3 p-4 transition-colors duration-150 hover:border-line sm:items-center ${actions ? "sm:grid-cols-[minmax(0,1fr)_14rem_11rem]" : "sm:grid-cols-[minmax(0,1fr)_16rem]"}`}>
      <div className="min-w-0">
        <Heading className="truncate font-medium">
          <Link to="/jobs/$jobId" params={{ jobId: job.id }} className="after:absolute after:inset-0 after:rounded-card">{job.name}</Link>
        </Heading>
        {(job.notes || job.prompt !== job.name) && <p className="truncate text-sm text-mid">{job.notes || job.prompt}</p>}
        <p className="mt-1 flex flex-wrap gap-x-3 text-xs text-low">
          <span>{job.baseModel.split("/").at(-1)}</span><span>{words(job.method)}</span><span>{ago(job.createdAt, now)}</span>
        </p>
      </div>
      <div className="grid gap-2">
        <div className="flex items-center justify-between gap-3">
          <StateBadge state={job.state} />
          <span className="num text-xs text-mid">{job.queuePosition ? `place ${job.queuePosition}` : `${Math.floor(job.percentComplete)} %`}</span>
        </div>
        <Bar value={job.percentComplete / 100} label={`Progress of ${job.name}`} tone={BAR[job.state] ?? "signal"} />
        <p className="num text-xs text-mid">{money(job.currentSpend)} <span className="text-low">of {money(job.maxBudget)}</span></p>
      </div>
      {actions && <div className="relative z-10 flex items-center sm:justify-end">{actions}</div>}
    </article>
  );
}
