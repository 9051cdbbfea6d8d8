import { useMutation } from "@tanstack/react-query";
import { useState } from "react";
import { api, call, type Schemas, toProblem } from "../../lib/api";
import { money } from "../../lib/format";
import { Badge } from "../../ui/Badge";
import { Button, IconButton } from "../../ui/Button";
import { toast } from "../../ui/Toasts";
import { Media } from "../../ui/Media";
import { diffWords, type Piece } from "./diff";

const VOTES = [["base", "Base is better"], ["tie", "Equal"], ["tuned", "Tuned is better"]] as const;

/** The same question, base left, tuned right; what they do not share is underlined. */
export function Compared({ comparison, weights }: { comparison: Schemas["Comparison"]; weights: string }) {
  const [vote, setVote] = useState(comparison.preferred ?? null);
  const [base, tuned] = diffWords(comparison.base.output, comparison.tuned.output);
  const prefer = useMutation({
    mutationFn: (preferred: "base" | "tuned" | "tie") => call(api.POST("/api/training/test/comparisons/{comparison_id}", { params: { path: { comparison_id: comparison.id } }, body: { preferred } })),
    onSuccess: (found) => setVote(found.preferred ?? null), onError: (error) => toast(toProblem(error).detail, "fault"),
  });
  return (
    <article aria-label="Comparison" className="enter grid gap-3 rounded-card border border-edge bg-ink-950/60 p-4">
      <p className="text-sm font-medium break-words whitespace-pre-wrap">{comparison.prompt}</p>
      <div className="grid gap-3 md:grid-cols-2">
        <Side title="Base" pieces={base} result={comparison.base} />
        <Side title="Tuned" note={weights} pieces={tuned} result={comparison.tuned} tuned />
      </div>
      <div role="group" aria-label="Which is better?" className="flex flex-wrap items-center gap-2">
        <span className="mr-1 text-sm text-mid">Which is better?</span>
        {VOTES.map(([value, label]) => (
          <Button key={value} look={vote === value ? "primary" : "plain"} aria-pressed={vote === value} className="min-h-9 px-3" {...(vote === value && { icon: "check" as const })} onClick={() => prefer.mutate(value)}>{label}</Button>
        ))}
      </div>
    </article>
  );
}

function Side({ title, note = "", pieces, result, tuned = false }: { title: string; note?: string; pieces: Piece[]; result: Schemas["TestResult"]; tuned?: boolean }) {
  const copy = () => void navigator.clipboard.writeText(result.output).then(() => toast("Copied."), () => toast("The browser did not allow copying.", "fault"));
  return (
    <section aria-label={title} className={`flex min-w-0 flex-col rounded-field border bg-ink-900 p-4 ${tuned ? "border-signal/50" : "border-edge"}`}>
      <header className="mb-1 flex items-center justify-between gap-2">
        <span className="flex min-w-0 items-center gap-2"><Badge tone={tuned ? "signal" : "plain"}>{title}</Badge><span className="truncate text-xs text-low">{note}</span></span>
        <IconButton icon="copy" label={`Copy the answer of ${title}`} onClick={copy} className="-my-1 -mr-2" />
      </header>
      {result.outputUrl && <Media src={result.outputUrl} label={`${title}: what it made`} />}
      <p className="flex-1 text-sm leading-relaxed break-words whitespace-pre-wrap">
        {!result.outputUrl && pieces.length === 0 && <span className="text-low">The model ended at once.</span>}
        {pieces.map((piece, at) => (piece.own ? <mark key={at} className={`bg-transparent text-hi underline decoration-2 underline-offset-4 ${tuned ? "decoration-signal/70" : "decoration-line"}`}>{piece.text}</mark> : <span key={at}>{piece.text}</span>))}
      </p>
      <p className="num mt-3 text-xs text-low">{result.latency.toFixed(1)} s{result.tokensUsed != null && `, ${result.tokensUsed} tokens`}, {money(result.cost)}</p>
    </section>
  );
}
