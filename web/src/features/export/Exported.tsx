import { useState } from "react";
import { API, type Schemas } from "../../lib/api";
import { ago, bytes, duration } from "../../lib/format";
import { useNow } from "../../lib/useNow";
import { Badge } from "../../ui/Badge";
import { IconButton } from "../../ui/Button";
import { Disclosure } from "../../ui/Disclosure";
import { Icon } from "../../ui/Icon";
import { ErrorBox } from "../../ui/States";
import { FORMS } from "./choice";
import type { Export } from "./useExports";

const TOOLS: Record<Schemas["UseCommand"]["name"], string> = { vllm: "vLLM", transformers: "transformers", llama_cpp: "llama.cpp", ollama: "Ollama" };

/** An export that has ended: what was checked, how to run it, its files; or why there is none. */
export function Exported({ jobId, item, open }: { jobId: string; item: Export; open: boolean }) {
  const now = useNow();
  const names = (item.request.formats ?? []).map((form) => FORMS[form].name).join(", ");
  const result = item.result;
  return (
    <section aria-label={`Export: ${names}`} className="grid gap-3">
      <div className="flex flex-wrap items-center gap-2 text-sm">
        {item.state === "done" && <Badge tone="signal" icon="check">Done</Badge>}
        {item.state === "failed" && <Badge tone="fault" icon="alert">Failed</Badge>}
        {item.state === "cancelled" && <Badge icon="stop">Cancelled</Badge>}
        <span className="font-medium">{names}</span>
        <span className="text-low">{ago(item.endedAt, now)}{result && <>, <span className="num">{bytes(result.bytes)}</span> in {duration(result.seconds)}</>}</span>
      </div>
      {item.state === "failed" && (
        <ErrorBox
          problem={{ code: item.code ?? "export_failed", detail: item.error ?? "The export failed.", status: 500, ...(item.nextStep && { nextStep: item.nextStep }) }}
          kept={result ? "What was written is kept, below." : "The model itself is untouched."}
        />
      )}
      {result && <Result jobId={jobId} result={result} open={open} />}
    </section>
  );
}

function Result({ jobId, result, open }: { jobId: string; result: Schemas["ExportResult"]; open: boolean }) {
  return (
    <>
      {open && (
        <ul className="grid gap-1.5">
          {result.parity.map((check) => (
            <li key={check.name} className="flex gap-2 text-sm text-mid">
              <Icon name={check.passed ? "check" : "close"} size={18} className={check.passed ? "text-signal" : "text-fault"} />
              <span className="min-w-0 break-words">{check.sentence}</span>
            </li>
          ))}
        </ul>
      )}
      {result.hubUrl && <p className="text-sm text-mid">On the hub: <a href={result.hubUrl} target="_blank" rel="noreferrer" className="break-all text-info underline underline-offset-4">{result.hubUrl}</a></p>}
      {open && result.commands.map((one) => <Command key={one.name} name={TOOLS[one.name]} text={one.command} />)}
      <Disclosure plain title={`Files (${result.files.length}, ${bytes(result.bytes)})`} open={open}>
        <ul className="divide-y divide-edge">
          {result.files.map((file) => (
            <li key={file.path} className="flex flex-wrap items-baseline justify-between gap-x-3 py-2 text-xs">
              <a href={`${API}/jobs/${jobId}/files/${file.path.split("/").map(encodeURIComponent).join("/")}`} className="num min-w-0 break-all text-info underline underline-offset-4">{file.path.slice(result.folder.length + 1)}</a>
              <span className="num text-low"><span title={`SHA-256 ${file.sha256}`}>{file.sha256.slice(0, 12)}</span>, {bytes(file.bytes)}</span>
            </li>
          ))}
        </ul>
      </Disclosure>
    </>
  );
}

function Command({ name, text }: { name: string; text: string }) {
  const [copied, setCopied] = useState(false);
  return (
    <div className="flex items-center gap-2 rounded-control border border-edge bg-ink-950 py-1 pl-3">
      <span className="shrink-0 text-xs text-low">{name}</span>
      <code className="min-w-0 flex-1 text-xs break-words text-hi">{text}</code>
      <IconButton icon={copied ? "check" : "copy"} label={copied ? `Copied the ${name} command` : `Copy the ${name} command`} onClick={() => void navigator.clipboard.writeText(text).then(() => setCopied(true))} />
    </div>
  );
}
