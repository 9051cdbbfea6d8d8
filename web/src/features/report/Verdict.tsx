import { useQuery } from "@tanstack/react-query";
import { API, api, call, type Schemas, toProblem } from "../../lib/api";
import { bytes, duration, money } from "../../lib/format";
import { Again } from "../../ui/Again";
import { Badge } from "../../ui/Badge";
import { Card, Facts } from "../../ui/Card";
import { Disclosure } from "../../ui/Disclosure";
import { Icon } from "../../ui/Icon";
import { ButtonLink, FileLink } from "../../ui/Link";
import { ErrorBox, Loading } from "../../ui/States";

type Report = Schemas["RunReport"];

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;

export function useReport(jobId: string, on: boolean) {
  return useQuery({ queryKey: ["report", jobId], enabled: on, queryFn: () => call(api.GET("/api/training/jobs/{job_id}/report", { params: { path: { job_id: jobId } } })) as Promise<Report> });
}

/** Is it better, and by how much: the number with its interval, the promises, before and after. */
export function Complete({ jobId, planId, files }: { jobId: string; planId: string; files: Schemas["RunFile"][] }) {
  const report = useReport(jobId, true);
  if (report.isPending) return <Loading label="Loading the report" rows={3} />;
  if (report.isError) return <ErrorBox problem={toProblem(report.error)} onRetry={() => void report.refetch()} kept="The model and its files are safe." />;
  const data = report.data;
  return (
    <div className="grid gap-4">
      <Headline report={data} planId={planId} />
      <div className="grid gap-4 lg:grid-cols-2">
        <Criteria report={data} />
        <Card title="What it took">
          <Facts
            columns={2}
            rows={[
              ["Spent", `${money(data.spendUsd)} of ${money(data.maxBudgetUsd)}`], ["Estimated", `${money(data.estimatedCostUsd[0])} – ${money(data.estimatedCostUsd[1])}`],
              ["Training time", duration(data.trainSeconds)], ["From start to end", duration(data.actualHours * 3600)],
              ["Speed", `${Math.round(data.tokensPerSecond).toLocaleString("en-US")} tokens/s`], ["Tokens", data.tokens.toLocaleString("en-US")],
              ["Freezes", String(data.freezes)], ["Worker starts", String(data.generations)],
            ]}
          />
          {data.notes.length > 0 && <ul className="mt-4 grid gap-1 text-sm text-mid">{data.notes.map((note) => <li key={note}>{note}</li>)}</ul>}
        </Card>
      </div>
      <SideBySide pairs={data.sideBySide} />
      <Take jobId={jobId} files={files} report={data} />
    </div>
  );
}

function Headline({ report, planId }: { report: Report; planId: string }) {
  const loss = report.heldOutLoss;
  const better = loss !== null && loss !== undefined && loss.interval[0] > 0;
  return (
    <section aria-label="Result" className="card grid gap-6 p-5 sm:grid-cols-[1fr_auto] sm:items-center sm:p-7">
      <div className="min-w-0 space-y-2">
        <Badge tone={better ? "signal" : "hold"} icon={better ? "check" : "info"}>{loss ? (better ? "Better than its base" : "No clear difference") : "Not measured"}</Badge>
        <h2 className="text-2xl font-semibold">
          {loss ? `Loss on unseen rows ${loss.relativeDrop >= 0 ? "down" : "up"} ${percent(Math.abs(loss.relativeDrop))}` : "No held-out rows, so no before and after"}
        </h2>
        {loss && (
          <p className="max-w-[60ch] text-sm text-mid">
            Between {percent(loss.interval[0])} and {percent(loss.interval[1])}, with {Math.round(loss.confidence * 100)} % confidence: {loss.method} ({loss.rows.toLocaleString("en-US")} rows, {loss.tokens.toLocaleString("en-US")} tokens).
          </p>
        )}
        <div className="flex flex-wrap gap-3 pt-2">
          <ButtonLink to="/jobs/$jobId/test" params={{ jobId: report.jobId }} look="primary" icon="compare" className="w-full sm:w-auto">Test Model</ButtonLink>
          <Again planId={planId} className="w-full sm:w-auto" />
        </div>
      </div>
      {loss && <BeforeAfter before={loss.before} after={loss.after} />}
    </section>
  );
}

function BeforeAfter({ before, after }: { before: number; after: number }) {
  const top = Math.max(before, after);
  return (
    <ul aria-label="Held-out loss" className="grid w-full gap-4 sm:w-72">
      {[["Base", before, "bg-mid"], ["Tuned", after, "bg-signal"]].map(([name, value, colour]) => (
        <li key={name as string}>
          <div className="flex justify-between text-sm"><span className="text-mid">{name}</span><span className="num font-semibold">{(value as number).toFixed(4)}</span></div>
          <div aria-hidden="true" className="mt-1 h-3 rounded-control bg-ink-800"><div className={`h-full rounded-control ${colour as string}`} style={{ width: `${((value as number) / top) * 100}%` }} /></div>
        </li>
      ))}
    </ul>
  );
}

function Criteria({ report }: { report: Report }) {
  return (
    <Card title="Promised, and checked">
      {report.criteria.length === 0 && <p className="text-sm text-mid">The contract named no measurable promise.</p>}
      <ul className="grid gap-3">
        {report.criteria.map((item) => (
          <li key={item.criterion.sentence} className="flex gap-3 text-sm">
            <Icon name={item.passed ? "check" : item.passed === false ? "close" : "info"} className={item.passed ? "text-signal" : item.passed === false ? "text-fault" : "text-low"} />
            <div className="min-w-0">
              <p className="break-words">{item.criterion.sentence}</p>
              <p className="text-mid"><span className="font-medium">{item.passed ? "Kept. " : item.passed === false ? "Not kept. " : "Not measured. "}</span>{item.sentence}</p>
            </div>
          </li>
        ))}
      </ul>
    </Card>
  );
}

/** Unseen prompts, answered by base and tuned, printed as they are. */
function SideBySide({ pairs }: { pairs: Schemas["SideBySide"][] }) {
  if (!pairs.length) return null;
  return (
    <Card title="Base and tuned, on unseen prompts" aside={<span className="text-xs text-low">as answered, nothing picked</span>}>
      <ul className="grid gap-6">
        {pairs.slice(0, 8).map((pair) => (
          <li key={pair.prompt} className="min-w-0">
            <p className="text-sm font-medium break-words whitespace-pre-wrap">{pair.prompt}</p>
            <div className="mt-2 grid gap-3 md:grid-cols-2">
              {[["Base", pair.base], ["Tuned", pair.tuned]].map(([name, text]) => (
                <div key={name} className={`min-w-0 rounded-control border bg-ink-950 p-3 ${name === "Tuned" ? "border-signal/40" : "border-edge"}`}>
                  <p className={`mb-1 text-xs ${name === "Tuned" ? "text-signal" : "text-low"}`}>{name}</p>
                  <p className="text-sm break-words whitespace-pre-wrap text-mid">{text || "The model ended at once."}</p>
                </div>
              ))}
            </div>
            {pair.expected && <p className="mt-2 text-xs break-words text-low">The data says: {pair.expected}</p>}
          </li>
        ))}
      </ul>
    </Card>
  );
}

function Take({ jobId, files, report }: { jobId: string; files: Schemas["RunFile"][]; report: Report }) {
  const results = files.filter((file) => file.path.startsWith("result/"));
  const base = `${API}/jobs/${jobId}`;
  return (
    <Card title="Take it with you">
      <div className="flex flex-wrap gap-3">
        <FileLink href={`${base}/report?format=html`} target="_blank" rel="noreferrer" icon="report">Report as a page</FileLink>
        <FileLink href={`${base}/report?format=md`} download={`report-${jobId}.md`} icon="download">Report as Markdown</FileLink>
        <FileLink href={`${base}/receipt`} icon="budget">Receipt</FileLink>
      </div>
      {Object.keys(report.artefacts).length > 0 && (
        <div className="mt-4"><Facts rows={Object.entries(report.artefacts).map(([name, where]) => [name, where])} /></div>
      )}
      {results.length > 0 && (
        <div className="mt-4">
          <Disclosure plain title={`Files of the model (${results.length}, ${bytes(results.reduce((sum, file) => sum + file.bytes, 0))})`}>
            <ul className="divide-y divide-edge text-sm">
              {results.slice(0, 60).map((file) => (
                <li key={file.path} className="flex flex-wrap justify-between gap-3 py-2">
                  <a href={`${base}/files/${file.path.split("/").map(encodeURIComponent).join("/")}`} className="num min-w-0 text-xs break-all text-info underline underline-offset-4">{file.path}</a>
                  <span className="num text-xs text-low">{bytes(file.bytes)}</span>
                </li>
              ))}
            </ul>
          </Disclosure>
        </div>
      )}
    </Card>
  );
}
