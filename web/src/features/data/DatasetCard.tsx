import type { Schemas } from "../../lib/api";
import { sentence } from "../../lib/format";
import { IconButton } from "../../ui/Button";
import { Disclosure } from "../../ui/Disclosure";
import { Icon } from "../../ui/Icon";
import { ButtonLink } from "../../ui/Link";
import type { Dataset } from "./client";
import { peaksOf, Waveform } from "./Waveform";
import { Compare } from "./Compare";
import { Findings } from "./Findings";

/** Kinds of rows with answers that people can compare. */
const COMPARED = new Set(["messages", "preferences", "prompts"]);
const count = (value: number) => value.toLocaleString("en-US");

/** A dataset in one glance, with what the checks found; with `onChange` it can be fixed, and its answers compared by hand. Recordings
 * lead to their words unless it is not `linked`. */
export function DatasetCard({ data, onRemove, onChange, linked = true }: { data: Dataset; onRemove?: (() => void) | undefined; onChange?: (data: Dataset) => void; linked?: boolean }) {
  const report = data.report;
  return (
    <section aria-label={`Data: ${data.name}`} className="card min-w-0 p-4">
      <div className="flex items-start gap-3">
        <span className="grid size-10 shrink-0 place-items-center rounded-control bg-ink-850 text-signal"><Icon name="data" /></span>
        <div className="min-w-0 flex-1">
          <p className="font-medium break-words">{data.name}</p>
          <p className="num text-xs text-mid">
            {report ? `${count(report.usable)} usable rows, ${count(report.trainRows)} to train on, ${count(report.evalRows)} held out` : `${count(data.rows)} rows`}
            {data.licence && `, ${data.licence}`}
          </p>
          {data.credit && <p className="mt-1 text-xs text-low">{data.credit}</p>}
        </div>
        {onRemove && <IconButton icon="close" label={`Do not use ${data.name}`} onClick={onRemove} />}
      </div>
      {report && <Report data={data} report={report} {...(onChange && { onChange })} />}
      {onChange && report && COMPARED.has(report.kind) && <div className="mt-3"><Compare data={data} /></div>}
      {linked && report?.kind === "sounds" && <ButtonLink to="/data/$datasetId" params={{ datasetId: data.id }} look="quiet" icon="voice" className="mt-3">Words of the recordings</ButtonLink>}
    </section>
  );
}

function Report({ data, report, onChange }: { data: Dataset; report: Schemas["DataReport"]; onChange?: (data: Dataset) => void }) {
  return (
    <div className="mt-3 grid gap-3">
      <HaveNeed need={report.sufficiency} />
      <Findings data={data} report={report} {...(onChange && { onChange })} />
      {(report.preview ?? []).length > 0 && (
        <Disclosure plain title="First rows, as the model will see them">
          <ul className="grid gap-2">
            {(report.preview ?? []).slice(0, 3).map((row, at) => (
              <li key={at} className="max-h-40 overflow-auto rounded-control bg-ink-950 p-3 text-xs break-words whitespace-pre-wrap text-mid" tabIndex={0}>{peaksOf(row).length > 0 && <Waveform peaks={peaksOf(row)} label={`Waveform of ${String(row.audio)}`} />}<Strip row={row} />{rowText(row)}</li>
            ))}
          </ul>
        </Disclosure>
      )}
    </div>
  );
}

/** How far the rows go, against what the tier needs. */
export function HaveNeed({ need }: { need: Schemas["Sufficiency"] }) {
  const goals = [["enough", need.need], ["recommended", need.recommended], ["flagship", need.flagship]] as const;
  const top = Math.max(need.have, need.recommended ?? need.need ?? need.have, 1);
  const scale = (rows: number) => Math.log10(1 + rows) / Math.log10(1 + top);
  return (
    <div className="grid gap-1.5">
      <div aria-hidden="true" className="relative h-2 rounded-full bg-ink-800">
        <div className={`h-full rounded-full ${need.tier === "too_few" ? "bg-hold" : "bg-signal"}`} style={{ width: `${Math.min(100, scale(need.have) * 100)}%` }} />
        {goals.map(([name, rows]) => rows != null && rows <= top && (
          <span key={name} title={`${sentence(name)}: ${count(rows)} rows`} className="absolute -top-1 h-4 w-0.5 rounded-full bg-hi" style={{ left: `min(calc(100% - 2px), ${scale(rows) * 100}%)` }} />
        ))}
      </div>
      <p className="flex flex-wrap justify-between gap-x-4 gap-y-0.5 text-xs text-mid">
        <span>{need.sentence || `${count(need.have)} rows`}</span>
        <span className="text-low tabular-nums">{goals.filter(([, rows]) => rows != null).map(([name, rows]) => `${name} ${count(rows ?? 0)}`).join(", ")}</span>
      </p>
    </div>
  );
}

/** Frames of a video side by side, as the preview of its row carries them. */
function Strip({ row }: { row: Record<string, unknown> }) {
  return typeof row.strip === "string" ? <img src={row.strip} alt={`Frames of ${String(row.video ?? row.chosen_video)}`} className="mb-2 w-full rounded-control" /> : null;
}

function rowText(row: Record<string, unknown>): string {
  const lines = Array.isArray(row.messages) ? (row.messages as { role: string; content: string }[]) : null;
  if (lines) return lines.map((line) => `${line.role}: ${line.content}`).join("\n");
  const [better, worse] = [row.chosen_image ?? row.chosen_video, row.rejected_image ?? row.rejected_video];
  if (typeof better === "string") return `${String(row.caption)}\nPreferred: ${better}\nOther: ${String(worse)}`;
  if (typeof row.video === "string") return `${String(row.caption)}\n${String(row.seconds)} s of ${row.video}`;
  return typeof row.text === "string" ? row.text : JSON.stringify(row, null, 1);
}
