import { type ReactNode, useState } from "react";
import { API, type Schemas } from "../../lib/api";
import { ago, bytes, words } from "../../lib/format";
import { useNow } from "../../lib/useNow";
import { Badge, type Tone } from "../../ui/Badge";
import { Button } from "../../ui/Button";
import { Card } from "../../ui/Card";
import { Icon } from "../../ui/Icon";
import { Bar } from "../../ui/Progress";
import { Media } from "../../ui/Media";
import type { RunLive } from "./reducer";

const NEWEST = 5;
const STAGE_TONES: Record<string, Tone> = { running: "signal", completed: "signal", awaiting_approval: "hold", failed: "fault" };

/** Cards of the pipeline's stages, the current one marked. */
export function Stages({ stages, action }: { stages: Schemas["StageView"][]; action?: (stage: Schemas["StageView"]) => ReactNode }) {
  return (
    <ol aria-label="Stages" className="grid gap-3 sm:grid-cols-[repeat(auto-fit,minmax(13rem,1fr))]">
      {stages.map((stage) => {
        const current = stage.status === "running" || stage.status === "awaiting_approval";
        return (
          <li key={stage.index} aria-current={current ? "step" : undefined} className={`card min-w-0 p-4 ${current ? "border-signal/60" : ""}`}>
            <div className="flex flex-wrap items-center justify-between gap-2">
              <p className="min-w-0 font-medium break-words"><span className="num mr-2 text-low">{stage.index + 1}</span>{stage.name}</p>
              <Badge tone={STAGE_TONES[stage.status] ?? "plain"} {...(stage.status === "completed" && { icon: "check" as const })}>{words(stage.status)}</Badge>
            </div>
            <p className="mt-1 mb-3 text-xs text-low">{words(stage.method)}</p>
            <Bar value={stage.progress} label={`Progress of ${stage.name}`} />
            {action?.(stage)}
          </li>
        );
      })}
    </ol>
  );
}

/** The row that is trained on now, and the counter of rows. */
export function CurrentData({ run, jobId }: { run: RunLive; jobId: string }) {
  const { current, metrics } = run;
  const count = (value: number) => value.toLocaleString("en-US");
  return (
    <Card title="Learning from now" aside={metrics && <span className="num text-xs text-low">{count(metrics.samplesProcessed)} of {count(metrics.totalSamples)} rows</span>}>
      {current ? (
        <>
          {current.file && <Media src={fileUrl(jobId, current.file)} label={current.content} look="row" />}
          <p tabIndex={0} role="group" aria-label="Current row" className="max-h-48 overflow-auto rounded-control bg-ink-950 p-3 text-sm leading-relaxed break-words whitespace-pre-wrap">{current.content}</p>
          <p className="num mt-2 text-xs break-words text-low">row {count(current.index)}{current.source && `, ${current.source}`}</p>
        </>
      ) : (
        <p className="text-sm text-mid">A row appears here as soon as the first step is made.</p>
      )}
    </Card>
  );
}

/** Held-out prompts, answered along the way; the base model's answer beside the newest one. */
export function Samples({ samples, jobId }: { samples: Schemas["QualitySample"][]; jobId: string }) {
  const prompts = [...new Set(samples.map((sample) => sample.input))];
  if (!prompts.length) return null;
  return (
    <Card title="Answers along the way" aside={<span className="text-xs text-low">unseen prompts, same seed</span>}>
      <ul className="grid gap-5">
        {prompts.slice(0, 4).map((input) => {
          const mine = samples.filter((sample) => sample.input === input);
          const base = mine.find((sample) => sample.base);
          const newest = mine.filter((sample) => !sample.base).at(-1);
          return (
            <li key={input} className="min-w-0">
              <p className="flex gap-2 text-sm font-medium break-words"><Icon name="chat" size={16} className="mt-0.5 text-low" /><span className="min-w-0">{input}</span></p>
              <div className="mt-2 grid gap-3 sm:grid-cols-2">
                <Answer title="Base model" asked={input} sample={base} jobId={jobId} />
                <Answer title={newest ? `Now, step ${newest.step}` : "Now"} asked={input} sample={newest} jobId={jobId} tuned />
              </div>
              <Earlier asked={input} samples={mine.filter((sample) => !sample.base && sample.file && !sample.output && sample !== newest)} jobId={jobId} />
            </li>
          );
        })}
      </ul>
    </Card>
  );
}

/** Updates that were far out of what is usual, or had no finite gradient, with the rows to look at. */
export function Alarms({ alarms }: { alarms: Schemas["Alarm"][] }) {
  if (!alarms.length) return null;
  const dropped = alarms.filter((alarm) => alarm.kind === "not_finite").length;
  return (
    <Card title="Far out" aside={<span className="num text-xs text-low">{alarms.length} update{alarms.length > 1 ? "s" : ""}{dropped > 0 && `, ${dropped} dropped`}</span>}>
      <ul className="divide-y divide-edge">
        {[...alarms].reverse().slice(0, NEWEST).map((alarm) => (
          <li key={`${alarm.stage}-${alarm.step}-${alarm.kind}`} className="min-w-0 py-3 first:pt-0 last:pb-0">
            <p className="flex flex-wrap items-center gap-2 text-sm font-medium"><Icon name="alert" size={16} className="text-hold" />{farOut(alarm)}</p>
            <p className="num mt-1 text-xs break-words text-low">step {alarm.step}, row{alarm.rows?.length === 1 ? "" : "s"} {alarm.rows?.slice(0, 12).join(", ") || "not known"}{alarm.file && `, kept in ${alarm.file}`}</p>
            {alarm.shown?.slice(0, 2).map((text, at) => (
              <p key={at} tabIndex={0} role="group" aria-label={`Row ${alarm.rows?.[at] ?? at}`} className="mt-2 max-h-28 overflow-auto rounded-control bg-ink-950 p-3 text-sm leading-relaxed break-words whitespace-pre-wrap text-mid">{text}</p>
            ))}
          </li>
        ))}
      </ul>
    </Card>
  );
}

function farOut({ kind, loss, usualLoss, gradientNorm }: Schemas["Alarm"]): string {
  if (kind === "not_finite") return "No finite gradient: this update was dropped";
  if (loss != null && usualLoss != null && loss > usualLoss * 1.05) return `Loss ${loss.toPrecision(3)} where ${usualLoss.toPrecision(3)} is usual`;
  return `Gradient of ${gradientNorm?.toPrecision(3) ?? "?"}, far above what is usual`;
}

/** What was made at earlier steps, in order: how the model came to make what it makes now. */
function Earlier({ asked, samples, jobId }: { asked: string; samples: Schemas["QualitySample"][]; jobId: string }) {
  if (!samples.length) return null;
  return (
    <ul aria-label="Earlier steps" className="mt-2 flex gap-2 overflow-x-auto">
      {samples.map((sample) => (
        <li key={`${sample.stage}-${sample.step}`} className="shrink-0">
          <Media src={fileUrl(jobId, sample.file ?? "")} label={`${asked}, step ${sample.step}`} look="small" />
          <p className="num mt-1 text-xs text-low">step {sample.step}</p>
        </li>
      ))}
    </ul>
  );
}

function fileUrl(jobId: string, path: string): string {
  return `${API}/jobs/${jobId}/files/${path.split("/").map(encodeURIComponent).join("/")}`;
}

type AnswerProps = { title: string; asked: string; sample: Schemas["QualitySample"] | undefined; jobId: string; tuned?: boolean };

function Answer({ title, asked, sample, jobId, tuned = false }: AnswerProps) {
  return (
    <div className={`min-w-0 rounded-control border bg-ink-950 p-3 ${tuned ? "border-signal/40" : "border-edge"}`}>
      <p className={`mb-1 text-xs ${tuned ? "text-signal" : "text-low"}`}>{title}</p>
      {sample?.file && <Media src={fileUrl(jobId, sample.file)} label={`${title}: ${asked}`} />}
      {(!sample?.file || sample.output) && <p className="text-sm break-words whitespace-pre-wrap text-mid">{sample?.output ?? "Not answered yet."}</p>}
    </div>
  );
}

/** Checkpoints, newest first, with what can be done with each. */
export function Checkpoints({ run, actions }: { run: RunLive; actions: (checkpoint: RunLive["checkpoints"][number]) => ReactNode }) {
  const now = useNow();
  const [all, setAll] = useState(false);
  const rows = [...run.checkpoints].sort((a, b) => b.stage - a.stage || b.step - a.step);
  const shown = all ? rows : rows.slice(0, NEWEST);
  return (
    <Card title="Checkpoints" aside={<span className="num text-xs text-low">{rows.length}</span>}>
      {rows.length === 0 && <p className="text-sm text-mid">The first checkpoint appears here once it is saved and verified.</p>}
      <ul className="divide-y divide-edge">
        {shown.map((item) => (
          <li key={item.checkpointId} className="flex flex-wrap items-center justify-between gap-x-4 gap-y-2 py-3">
            <div className="min-w-0">
              <p className="num text-sm">
                step {item.step}{run.stages.length > 1 && ` of stage ${item.stage + 1}`}
                {item.reason !== "interval" && <span className="ml-2 text-xs text-info">{words(item.reason ?? "")}</span>}
              </p>
              <p className="num text-xs text-low">{item.loss != null && `loss ${item.loss.toFixed(3)}, `}{bytes(item.bytes)}{item.at && `, ${ago(item.at, now)}`}</p>
            </div>
            <div className="flex gap-1">{item.kept === false ? <span className="text-xs text-low">removed</span> : actions(item)}</div>
          </li>
        ))}
      </ul>
      {rows.length > NEWEST && <Button look="quiet" aria-expanded={all} className="mt-1 -mb-1 w-full" onClick={() => setAll(!all)}>{all ? `Show the newest ${NEWEST}` : `Show all ${rows.length}`}</Button>}
    </Card>
  );
}
